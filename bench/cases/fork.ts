import { Atoll, type Sandbox } from '@atoll/sdk'
import { type Benchmark, row } from '../measure.ts'

const heldMb = 200
const holder = `
import os, sys, time
held = os.urandom(${heldMb} * 1000 * 1000)
open('/tmp/held', 'w').write(str(len(held)))
while True: time.sleep(3600)
`

/** A live process with its memory, copied. Memory is not shared between copies on gVisor: the cost is this. */
export const fork: Benchmark = {
  name: 'fork',
  about: `fork a sandbox whose Python holds ${heldMb} MB, into 1 and 10 children, to the first command of each`,
  pool: 2,
  async run({ url, apiKey, samples }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    const rounds = Math.max(3, Math.floor(samples / 4))
    const rows = []
    for (const [what, memoryMib] of [
      ['an idle sandbox', 512],
      [`a sandbox with ${heldMb} MB`, 1_024],
    ] as const) {
      await using parent = await atoll.sandboxes.create({ runtime: 'gvisor', limits: { memoryMib } })
      if (memoryMib > 512) await hold(parent)
      for (const count of [1, 10]) {
        const firsts: number[] = []
        const lasts: number[] = []
        const pauses: number[] = []
        for (let round = 0; round < (count === 1 ? rounds : 3); round++) {
          const sample = await forked(parent, count)
          firsts.push(sample.firstMs)
          lasts.push(sample.lastMs)
          pauses.push(sample.pausedMs)
        }
        rows.push(row(`fork ${what} into ${count}: first command of the first`, 'ms', firsts))
        if (count > 1) rows.push(row(`fork ${what} into ${count}: first command of all`, 'ms', lasts))
        rows.push(row(`fork ${what} into ${count}: the parent stood still`, 'ms', pauses))
      }
    }
    return rows
  },
}

const hold = async (sandbox: Sandbox): Promise<void> => {
  await sandbox.start(['python3', '-c', holder])
  for (;;) {
    const { stdout } = await sandbox.run(['sh', '-c', 'cat /tmp/held 2>/dev/null || sleep 0.2'])
    if (stdout !== '') return
  }
}

const forked = async (
  parent: Sandbox,
  count: number,
): Promise<{ firstMs: number; lastMs: number; pausedMs: number }> => {
  const start = performance.now()
  const result = await parent.forkResults({ count })
  const ends = await Promise.all(
    result.children.map(async (child) => {
      if (!child.ok) throw new Error(`a child failed: ${child.error.message}`)
      const { exit } = await child.sandbox.run(['true'])
      if (exit.code !== 0) throw new Error(`true ended with ${JSON.stringify(exit)}`)
      return performance.now() - start
    }),
  )
  for (const child of result.children) if (child.ok) await child.sandbox.delete()
  return { firstMs: Math.min(...ends), lastMs: Math.max(...ends), pausedMs: result.pausedMs }
}
