import { createHash } from 'node:crypto'
import { freemem } from 'node:os'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Drill, livingSandboxes, small, startDrill } from './drill.ts'

const crowd = 50
/** Creates that are under way at once: an honest client does not send fifty. */
const atOnce = 6
/** Resident per gVisor sandbox that has run Python, with room; fewer than this free and the drill cannot run. */
const bytesEach = 96 * 1024 ** 2

describe(`${crowd} sandboxes at once`, () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const enough = freemem() > crowd * bytesEach
  if (!enough)
    console.warn(`SKIPPED: ${crowd} sandboxes need ${(crowd * bytesEach) / 1024 ** 2} MiB of free memory`)
  it.skipIf(!enough)('each answer their own result, and leave nothing', async () => {
    const { atoll } = drill.stack
    const start = performance.now()
    const sandboxes = await inTurns(
      Array.from({ length: crowd }, (_, index) => index),
      (index) =>
        atoll.sandboxes.create({
          runtime: 'gvisor',
          limits: { ...small, memoryMib: 128 },
          env: { NUMBER: String(index) },
          labels: { drill: 'crowd' },
        }),
    )
    const createdMs = performance.now() - start
    expect(new Set(sandboxes.map(({ id }) => id)).size).toBe(crowd)
    expect(await livingSandboxes(drill.stack)).toHaveLength(crowd)

    await inTurns(sandboxes, (sandbox, index) => sandbox.files.write('own', `secret of ${index}`))
    const answers = await inTurns(sandboxes, (sandbox) => ownResult(sandbox))
    const rightAnswers = sandboxes.map(({ id }, index) => ({
      hash: createHash('sha256').update(`secret of ${index}`).digest('hex'),
      number: String(index),
      hostname: id,
      squares: String(
        Array.from({ length: index + 1 }, (_, n) => n * n).reduce((sum, square) => sum + square, 0),
      ),
    }))
    expect(answers.map(({ hash, number, squares }) => ({ hash, number, squares }))).toEqual(
      rightAnswers.map(({ hash, number, squares }) => ({ hash, number, squares })),
    )
    // No two share an identity.
    for (const what of ['hostname', 'machineId'] as const)
      expect(new Set(answers.map((answer) => answer[what])).size).toBe(crowd)

    const receipts = await inTurns(sandboxes, (sandbox) => sandbox.delete())
    for (const receipt of receipts) expect(receipt.processes).toBeGreaterThan(0)
    console.log(
      `${crowd} sandboxes: created in ${(createdMs / 1000).toFixed(1)} s, all over in ${((performance.now() - start) / 1000).toFixed(1)} s`,
    )
    expect(await drill.difference()).toEqual({})
  })
})

const ownResult = async (sandbox: Sandbox) => {
  const program = `sha256sum own | cut -d' ' -f1; echo $NUMBER; hostname; cat /etc/machine-id; n=0; s=0
    while [ $n -le $NUMBER ]; do s=$((s + n * n)); n=$((n + 1)); done; echo $s`
  const { stdout, exit, stderr } = await sandbox.run(program)
  if (exit.code !== 0) throw new Error(`${sandbox.id} ended with ${JSON.stringify(exit)}: ${stderr}`)
  const [hash, number, hostname, machineId, squares] = stdout.trim().split('\n')
  return { hash, number, hostname, machineId, squares }
}

/** Works on all, `atOnce` at a time, and answers in order. */
const inTurns = async <Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> => {
  const results: Result[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++
      results[index] = await work(items[index]!, index)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return results
}
