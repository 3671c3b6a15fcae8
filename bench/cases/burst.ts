import { Atoll, type Sandbox } from '@atoll/sdk'
import { type Benchmark, row, timed } from '../measure.ts'
import { poolFilled } from '../node-records.ts'

const count = 100
const fillMs = 240_000
const staggerMs = 20

/** Many at once, as an evaluation run asks for them. */
export const burst: Benchmark = {
  name: 'burst',
  about: `${count} creates at once and ${count} at ${staggerMs} ms from each other, each to the end of node -v`,
  pool: count,
  async run({ url, apiKey, dataFolder, log }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using running = await atoll.sandboxes.create({ runtime: 'gvisor' })
    await allow(url, apiKey, running.info.project)
    const commands: number[] = []
    for (let index = 0; index < 20; index++) commands.push(await timed(() => running.run(['node', '-v'])))
    const baseline = row('node -v in a running sandbox', 'ms', commands)
    const rows = [baseline]
    for (const [name, gapMs] of [
      [`burst of ${count}`, 0],
      [`${count} staggered by ${staggerMs} ms`, staggerMs],
    ] as const) {
      await poolFilled(dataFolder, count, fillMs)
      const { creates, wholes, failed } = await all(atoll, gapMs)
      log(`${name}: ${count - failed.length} of ${count} succeeded ${failed.slice(0, 3).join('; ')}`)
      rows.push(
        row(`${name}: create`, 'ms', creates),
        row(`${name}: create to end of node -v`, 'ms', wholes, baseline),
        row(`${name}: success`, 'percent', [100 - (failed.length * 100) / count]),
      )
    }
    return rows
  },
}

/** As many sandboxes at a time as there are, of one CPU each: more than a project has by default. */
const allow = async (url: string, apiKey: string, project: string): Promise<void> => {
  const answer = await fetch(`${url}/v1/projects/${project}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      quota: { sandboxes: count + 1, cpuMillis: (count + 1) * 1_000, memoryMib: (count + 1) * 1_024 },
    }),
  })
  if (!answer.ok) throw new Error(`cannot raise the quota: ${await answer.text()}`)
}

const all = async (
  atoll: Atoll,
  gapMs: number,
): Promise<{ creates: number[]; wholes: number[]; failed: string[] }> => {
  const creates: number[] = []
  const wholes: number[] = []
  const failed: string[] = []
  const made: Sandbox[] = []
  const one = async (index: number): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, index * gapMs))
    const start = performance.now()
    try {
      const sandbox = await atoll.sandboxes.create({ runtime: 'gvisor' })
      made.push(sandbox)
      creates.push(performance.now() - start)
      const { exit } = await sandbox.run(['node', '-v'])
      if (exit.code !== 0) throw new Error(`node -v ended with ${JSON.stringify(exit)}`)
      wholes.push(performance.now() - start)
    } catch (error) {
      failed.push(String(error))
    }
  }
  await Promise.all(Array.from({ length: count }, (_, index) => one(index)))
  for (const sandbox of made) await sandbox.delete()
  return { creates, wholes, failed }
}
