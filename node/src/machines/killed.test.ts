import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { makeId } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import type { Blank, Machine, RuntimeDriver } from '../runtimes/driver.ts'
import { simulatedDriver } from '../runtimes/simulated/driver.ts'
import { heldInMemory, holdInMemory, readIn, writeIn } from './test-memory.ts'
import { type TestNode, testNode, testSpec } from './test-node.ts'

const within = { timeout: 10_000, interval: 20 }

/** The acts on the host between which a daemon may be killed. */
const acts = [
  'freeze',
  'thaw',
  'setDeadline',
  'checkpoint',
  'destroy',
  'restore',
  'connectGuest',
  'start',
] as const
type Act = (typeof acts)[number]

/** A driver whose daemon stops for ever at one act: before it was done, or right after. */
const deadly = () => {
  const never = new Promise<never>(() => undefined)
  const died = Promise.withResolvers<void>()
  const plan: { at: { act: Act; when: 'before' | 'after' } | undefined; isDead: boolean } = {
    at: undefined,
    isDead: false,
  }
  const die = async (): Promise<never> => {
    plan.isDead = true
    died.resolve()
    return await never
  }
  const step =
    <Arguments extends unknown[], Result>(act: Act, call: (...given: Arguments) => Promise<Result>) =>
    async (...given: Arguments): Promise<Result> => {
      if (plan.isDead) return await never
      if (plan.at?.act !== act) return await call(...given)
      if (plan.at.when === 'before') return await die()
      await call(...given)
      return await die()
    }
  const machine = (inner: Machine): Machine => ({
    ...inner,
    freeze: step('freeze', (signal: AbortSignal) => inner.freeze(signal)),
    thaw: step('thaw', (signal: AbortSignal) => inner.thaw(signal)),
    setDeadline: step('setDeadline', (...given: Parameters<Machine['setDeadline']>) =>
      inner.setDeadline(...given),
    ),
    checkpoint: step('checkpoint', (...given: Parameters<Machine['checkpoint']>) =>
      inner.checkpoint(...given),
    ),
    destroy: step('destroy', (signal: AbortSignal) => inner.destroy(signal)),
    connectGuest: step('connectGuest', (signal: AbortSignal) => inner.connectGuest(signal)),
  })
  const blank = (inner: Blank): Blank => ({
    ...inner,
    record: inner.record,
    destroy: step('destroy', (signal: AbortSignal) => inner.destroy(signal)),
    restore: step('restore', async (image, signal) => machine(await inner.restore(image, signal))),
  })
  return {
    plan,
    died: died.promise,
    wrap: (driver: RuntimeDriver): RuntimeDriver => ({
      ...driver,
      start: step('start', async (spec, signal, disk) => machine(await driver.start(spec, signal, disk))),
      blank: async (spec, signal) => blank(await driver.blank(spec, signal)),
      recover: async (record, signal) => {
        const found = await driver.recover(record, signal)
        return found === undefined ? undefined : machine(found)
      },
    }),
  }
}

const child = { id: makeId('sbx', randomBytes(20)), hostname: 'child', lease: testSpec().lease }
const snapshot = { id: makeId('snp', randomBytes(20)), kind: 'memory' } as const

/** What is done, from which rest, and what the memory may be afterwards. */
const verbs = {
  'pause frozen': { before: 'running', keeps: true, run: (t, id) => t.node.pause(id, 'frozen', 'me') },
  'pause stored': { before: 'running', keeps: true, run: (t, id) => t.node.pause(id, 'stored', 'me') },
  demote: { before: 'frozen', keeps: true, run: (t, id) => t.node.pause(id, 'stored', 'me') },
  'resume frozen': { before: 'frozen', keeps: true, run: (t, id) => t.node.resume(id, 'me') },
  'resume stored': { before: 'stored', keeps: true, run: (t, id) => t.node.resume(id, 'me') },
  'fork running': { before: 'running', keeps: true, run: (t, id) => t.node.fork(id, [child], 'me') },
  'fork frozen': { before: 'frozen', keeps: true, run: (t, id) => t.node.fork(id, [child], 'me') },
  'fork stored': { before: 'stored', keeps: true, run: (t, id) => t.node.fork(id, [child], 'me') },
  snapshot: { before: 'running', keeps: true, run: (t, id) => t.node.snapshot(id, snapshot, 'me') },
  stop: { before: 'running', keeps: false, run: (t, id) => t.node.stop(id, 'me') },
  start: { before: 'stopped', keeps: false, run: (t, id) => t.node.start(id) },
} as const satisfies Record<
  string,
  {
    before: 'running' | 'frozen' | 'stored' | 'stopped'
    keeps: boolean
    run: (test: TestNode, id: string) => Promise<unknown>
  }
>

const bring = async (test: TestNode, id: string, to: string): Promise<void> => {
  if (to === 'frozen' || to === 'stored') await test.node.pause(id, to, 'me')
  if (to === 'stopped') await test.node.stop(id, 'me')
}

const cases = Object.keys(verbs).flatMap((verb) =>
  acts.flatMap((act) =>
    (['before', 'after'] as const).map((when) => ({ verb: verb as keyof typeof verbs, act, when })),
  ),
)

describe('a daemon that is killed', () => {
  it.each(cases)('$when $act in $verb loses nothing and leaves nothing', async ({ verb, act, when }) => {
    const { plan, died, wrap } = deadly()
    await using test = await testNode({ wrap })
    const spec = testSpec()
    await test.node.create(spec)
    await writeIn(test.node, spec.id, 'file', 'kept')
    await holdInMemory(test.node, spec.id, 'secret')
    const { before, keeps, run } = verbs[verb]
    await bring(test, spec.id, before)
    plan.at = { act, when }
    const done = run(test, spec.id).then(
      () => 'done',
      () => 'failed',
    )
    const reached = await Promise.race([died.then(() => 'killed'), done])
    plan.at = undefined
    const node = await test.replace({ drivers: [simulatedDriver({ world: test.world })] })
    if (reached !== 'killed') expect(await done).toBe('done')
    await expect
      .poll(async () => (await node.get(spec.id)).state, within)
      .toMatch(/^(running|paused|stopped)$/)
    const { state } = await node.get(spec.id)
    if (state === 'stopped') await node.start(spec.id)
    expect(await readIn(node, spec.id, 'file')).toBe('kept')
    const word = await heldInMemory(node, spec.id)
    if (keeps) expect(word).toBe('secret')
    else if (word !== undefined) expect(word).toBe('secret')
    for (const other of await node.list())
      if (other.state !== 'ended') await node.delete(other.id, 'deleted', 'me')
    for (const { id } of await node.snapshots()) await node.deleteSnapshot(id)
    await expect.poll(() => test.world.machines.size, within).toBe(0)
    await expect.poll(() => readdir(join(test.folder, 'sandboxes')), within).toEqual([])
    await expect.poll(() => readdir(join(test.folder, 'snapshots')), within).toEqual([])
  })
})
