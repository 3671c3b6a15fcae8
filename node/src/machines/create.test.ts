import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openRecords } from '../records/open.ts'
import type { Machine, RuntimeDriver } from '../runtimes/driver.ts'
import { hashOf } from './create.ts'
import { runIn, testNode, testSpec } from './test-node.ts'

/** A driver of which one step fails. */
const failing =
  (change: (machine: Machine) => Machine) =>
  (driver: RuntimeDriver): RuntimeDriver => ({
    ...driver,
    start: async (spec, signal) => change(await driver.start(spec, signal)),
  })

const boom = async (): Promise<never> => {
  throw new Error('boom')
}

describe('a creation that fails half-way', () => {
  const faults: Record<string, (driver: RuntimeDriver) => RuntimeDriver> = {
    'at its start': (driver) => ({ ...driver, start: boom }),
    'at its channel': failing((machine) => ({ ...machine, connectGuest: boom })),
    'by dying at once': failing((machine) => {
      void machine.destroy(AbortSignal.timeout(1_000))
      return machine
    }),
  }
  for (const [where, wrap] of Object.entries(faults))
    it(`leaves nothing but a tombstone: ${where}`, async () => {
      await using test = await testNode({ wrap })
      const spec = testSpec()
      await expect(test.node.create(spec)).rejects.toMatchObject({ code: expect.any(String) })
      expect(await test.node.get(spec.id)).toMatchObject({
        state: 'ended',
        ended: { cause: 'create_failed', receipt: expect.any(Object) },
      })
      expect(test.world.machines.size).toBe(0)
      expect(await readdir(join(test.folder, 'sandboxes'))).toEqual([])
      await expect(runIn(test.node, spec.id, ['true'])).rejects.toMatchObject({ code: 'sandbox_ended' })
    })

  it('destroys a machine whose guest answers as another one', async () => {
    await using test = await testNode({ wrap: (driver) => driver, clock: skewed() })
    const spec = testSpec()
    await expect(test.node.create(spec)).rejects.toMatchObject({ code: 'internal' })
    expect(test.world.machines.size).toBe(0)
    expect((await test.node.get(spec.id)).ended?.message).toContain('ms off')
  })

  it('is undone by the caller who goes away, and by who deletes it', async () => {
    const never = failing((machine) => ({
      ...machine,
      connectGuest: (signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('aborted')))
        }),
    }))
    await using test = await testNode({ wrap: never })
    const spec = testSpec()
    const creating = test.node.create(spec)
    const failed = expect(creating).rejects.toMatchObject({ code: 'sandbox_ended' })
    await expect.poll(() => test.world.machines.size).toBe(1)
    const receipts = await Promise.all([
      test.node.delete(spec.id, 'deleted', 'me'),
      test.node.delete(spec.id, 'deleted', 'another'),
    ])
    expect(receipts[0]).toEqual(receipts[1])
    await failed
    expect(await test.node.get(spec.id)).toMatchObject({ ended: { cause: 'deleted', by: 'me' } })
    expect(test.world.machines.size).toBe(0)
  })
})

/** A daemon whose clock is an hour before its guests'. */
const skewed = () => ({ now: () => Date.now() - 3_600_000, monotonic: () => performance.now() })

describe('admission', () => {
  it('refuses beyond named limits and leaves no record', async () => {
    await using test = await testNode({ options: { sandboxes: 1 } })
    await test.node.create(testSpec())
    const more = testSpec()
    await expect(test.node.create(more)).rejects.toMatchObject({ code: 'overloaded' })
    await expect(test.node.get(more.id)).rejects.toMatchObject({ code: 'not_found' })
    const greedy = testSpec({ limits: { ...testSpec().limits, memoryMib: 262_144 } })
    await using other = await testNode({ options: { memoryOvercommit: 1 } })
    await expect(other.node.create(greedy)).rejects.toThrow(/MiB of memory would be promised/)
    await using full = await testNode({ options: { diskReserveBytes: 2 ** 60 } })
    await expect(full.node.create(testSpec())).rejects.toMatchObject({ code: 'host_disk_full' })
  })

  it('gives each living sandbox its own slot of user ids, and a freed one again', async () => {
    const bases: number[] = []
    await using test = await testNode({
      wrap: (driver) => ({
        ...driver,
        start: (spec, signal) => {
          bases.push(spec.uidBase)
          return driver.start(spec, signal)
        },
      }),
    })
    const specs = [testSpec(), testSpec(), testSpec()]
    for (const spec of specs) await test.node.create(spec)
    await test.node.delete(specs[1]!.id, 'deleted', 'me')
    await test.node.create(testSpec())
    expect(bases).toEqual([200_000, 265_536, 331_072, 265_536])
  })
})

describe('records', () => {
  it('forget the env of what has ended, and hash a spec whatever its order', async () => {
    await using test = await testNode()
    const spec = testSpec({ env: { SECRET: 'hunter2' } })
    await test.node.create(spec)
    await test.node.delete(spec.id, 'deleted', 'me')
    await test.node[Symbol.asyncDispose]()
    const records = openRecords(test.folder)
    expect(JSON.stringify(records.sandboxes.get(spec.id))).not.toContain('hunter2')
    records.close()
    const { env, ...rest } = spec
    expect(hashOf({ ...rest, env })).toBe(hashOf(spec))
    expect(hashOf({ ...spec, env: { SECRET: 'other' } })).not.toBe(hashOf(spec))
  })
})
