import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, makeId } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { heldInMemory, holdInMemory, readIn, writeIn } from './test-memory.ts'
import { runIn, type TestNode, testNode, testSpec } from './test-node.ts'

const within = { timeout: 8_000, interval: 20 }

const prepared = async (test: TestNode, change: object = {}): Promise<string> => {
  const spec = testSpec({ lease: { ...testSpec().lease, ...change } })
  await test.node.create(spec)
  await writeIn(test.node, spec.id, 'file', 'kept')
  await holdInMemory(test.node, spec.id, 'secret')
  return spec.id
}

const snapshotId = (): string => makeId('snp', randomBytes(20))
const child = () => ({ id: makeId('sbx', randomBytes(20)), hostname: 'child', lease: testSpec().lease })

/** Nothing of anyone is left: machines, folders, saved states. */
const expectNothingLeft = async (test: TestNode): Promise<void> => {
  await expect.poll(() => test.world.machines.size, within).toBe(0)
  expect(await readdir(join(test.folder, 'sandboxes'))).toEqual([])
  await expect.poll(() => readdir(join(test.folder, 'snapshots')), within).toEqual([])
}

/** The outcome, or the code of what it was refused with. */
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof AtollError ? error.code : String(error)),
  )

describe('what is asked of one sandbox at the same time', () => {
  it('is joined where it is the same, and else done one after the other', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const answers = await Promise.all([
      test.node.pause(id, 'stored', 'a'),
      test.node.pause(id, 'stored', 'b'),
      ...Array.from({ length: 20 }, () => test.node.resume(id, 'c')),
    ])
    expect(answers.at(-1)).toMatchObject({ state: 'running', generation: 2 })
    const types = (await test.node.events(0, 1_000)).map(({ type }) => type)
    expect(types.filter((type) => type === 'pausing')).toHaveLength(1)
    expect(types.filter((type) => type === 'resumed')).toHaveLength(1)
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it.each([0, 5, 20])('a deletion %d ms into any of it wins, and leaves nothing', async (afterMs) => {
    const verbs = [
      (test: TestNode, id: string) => test.node.pause(id, 'stored', 'me'),
      (test: TestNode, id: string) => test.node.pause(id, 'frozen', 'me'),
      (test: TestNode, id: string) => test.node.stop(id, 'me'),
      (test: TestNode, id: string) => test.node.snapshot(id, { id: snapshotId(), kind: 'disk' }, 'me'),
      async (test: TestNode, id: string) => {
        await test.node.pause(id, 'stored', 'me')
        await test.node.resume(id, 'me')
      },
      async (test: TestNode, id: string) => {
        await test.node.stop(id, 'me')
        await test.node.start(id)
      },
      (test: TestNode, id: string) => test.node.fork(id, [child(), child()], 'me'),
    ]
    for (const verb of verbs) {
      await using test = await testNode()
      const id = await prepared(test)
      const under = codeOf(verb(test, id))
      await new Promise((resolve) => setTimeout(resolve, afterMs))
      await test.node.delete(id, 'deleted', 'me')
      expect(await test.node.get(id)).toMatchObject({ state: 'ended', ended: { cause: 'deleted', by: 'me' } })
      expect(['done', 'sandbox_ended', 'state_conflict']).toContain(await under)
      expect(await test.node.get(id)).toMatchObject({ state: 'ended', ended: { cause: 'deleted' } })
      for (const other of await test.node.list())
        if (other.state !== 'ended') await test.node.delete(other.id, 'deleted', 'me')
      for (const { id: taken } of await test.node.snapshots()) await test.node.deleteSnapshot(taken)
      await expectNothingLeft(test)
    }
  })

  it('commands during a pause come through or say so, and none is lost half-way', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const runs = Array.from({ length: 30 }, (_, index) =>
      runIn(test.node, id, ['sh', '-c', `echo ${index} > n${index}`]).then(
        (ran) => ({ index, code: ran.exit?.code as number | undefined }),
        (error: AtollError) => ({ index, code: undefined, error: error.code }),
      ),
    )
    const pauses = [
      test.node.pause(id, 'stored', 'me'),
      test.node.snapshot(id, { id: snapshotId(), kind: 'memory' }, 'me').catch(() => undefined),
      test.node.pause(id, 'frozen', 'me'),
    ]
    const outcomes = await Promise.all(runs)
    await Promise.all(pauses.map((pause) => codeOf(pause)))
    for (const { index, code, ...rest } of outcomes)
      if (code === 0) expect(await readIn(test.node, id, `n${index}`)).toBe(String(index))
      else expect(rest).toMatchObject({ error: 'stream_broken' })
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('a pause waits for the fork before it, and the fork after it copies what is paused', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const [before, after] = [child(), child()]
    const [first, paused, second] = await Promise.all([
      test.node.fork(id, [before], 'me'),
      test.node.pause(id, 'stored', 'me'),
      test.node.fork(id, [after], 'me'),
    ])
    expect(first.pausedMs).toBeGreaterThan(0)
    expect(paused).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(second.pausedMs).toBe(0)
    for (const { id: copy } of [before, after]) expect(await heldInMemory(test.node, copy)).toBe('secret')
  })

  it('is refused beyond a limit of waiting operations', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const asked = Array.from({ length: 40 }, () =>
      codeOf(test.node.snapshot(id, { id: snapshotId(), kind: 'memory' }, 'me')),
    )
    const codes = await Promise.all(asked)
    expect(codes.filter((code) => code === 'done')).toHaveLength(33)
    expect(codes.filter((code) => code === 'overloaded')).toHaveLength(7)
  })

  it('what the node wants by itself is looked at again when it is its turn', async () => {
    await using test = await testNode({ options: { frozenKeptMs: 0 } })
    const id = await prepared(test)
    for (let round = 0; round < 10; round++) {
      await test.node.pause(id, 'frozen', 'me')
      // The ticker wants it on disk by now: who resumes it first finds it running, and it stays so.
      await new Promise((resolve) => setTimeout(resolve, round * 3))
      await test.node.resume(id, 'me')
      expect(await test.node.get(id)).toMatchObject({ state: 'running' })
      await new Promise((resolve) => setTimeout(resolve, 40))
      expect(await test.node.get(id)).toMatchObject({ state: 'running' })
    }
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('an idle one that is used at the last moment is not frozen under its caller', async () => {
    await using test = await testNode()
    const id = await prepared(test, { idle: { afterMs: 60, action: 'pause' } })
    await test.node.guest(id, { method: 'DELETE', path: '/v1/processes/keeper' })
    for (let round = 0; round < 30; round++) {
      await new Promise((resolve) => setTimeout(resolve, 40 + round * 2))
      expect(await readIn(test.node, id, 'file')).toBe('kept')
    }
  })

  it('a time that is over during a pause ends nothing', async () => {
    await using test = await testNode()
    const id = await prepared(test, { expiresAtMs: Date.now() + 800, timeoutMs: 60_000 })
    await test.node.pause(id, 'frozen', 'me')
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    expect(await test.node.get(id)).toMatchObject({ state: 'paused' })
    expect((await test.node.resume(id, 'me')).lease.expiresAtMs).toBeGreaterThan(Date.now() + 50_000)
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })
})
