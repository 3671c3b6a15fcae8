import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { NodeEvent } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { heldInMemory, holdInMemory, readIn, writeIn } from './test-memory.ts'
import { runIn, type TestNode, testNode, testSpec } from './test-node.ts'

const within = { timeout: 8_000, interval: 20 }
const lease = (change: object) => ({ ...testSpec().lease, ...change })

const prepared = async (test: TestNode, change: object = {}) => {
  const spec = testSpec({ lease: lease(change) })
  await test.node.create(spec)
  await writeIn(test.node, spec.id, 'file', 'kept')
  await holdInMemory(test.node, spec.id, 'secret')
  return spec.id
}

const eventsOf = async (test: TestNode, id: string): Promise<NodeEvent[]> =>
  (await test.node.events(0, 1_000)).filter(({ sandbox }) => sandbox === id)

describe('a pause', () => {
  it('frozen keeps the machine, its word and its open exchange', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const running = runIn(test.node, id, ['sh', '-c', 'sleep 0.3; echo done'])
    const paused = await test.node.pause(id, 'frozen', 'me')
    expect(paused).toMatchObject({ state: 'paused', depth: 'frozen', generation: 1 })
    expect(await test.node.pause(id, 'frozen', 'me')).toMatchObject({ depth: 'frozen' })
    expect(test.world.machines.size).toBe(1)
    expect(await test.node.resume(id, 'me')).toMatchObject({ state: 'running', depth: null, generation: 1 })
    expect(await running).toMatchObject({ stdout: 'done\n', exit: { code: 0 } })
    expect(await heldInMemory(test.node, id)).toBe('secret')
    expect((await eventsOf(test, id)).map(({ type }) => type)).toEqual(['running', 'paused', 'resumed'])
  })

  it('stored frees the machine, and resumes with memory and disk in another generation', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    expect(await test.node.pause(id, 'stored', 'me')).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(test.world.machines.size).toBe(0)
    expect(await readdir(join(test.folder, 'sandboxes'))).toEqual([])
    expect((await readdir(join(test.folder, 'snapshots'))).length).toBe(1)
    expect(await test.node.snapshots()).toEqual([])
    expect(await test.node.resume(id, 'me')).toMatchObject({ state: 'running', generation: 2 })
    expect(await heldInMemory(test.node, id)).toBe('secret')
    expect(await readIn(test.node, id, 'file')).toBe('kept')
    expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
    const events = await eventsOf(test, id)
    expect(events.map(({ type }) => type)).toEqual(['running', 'pausing', 'paused', 'resuming', 'resumed'])
    expect(events[2]?.data).toMatchObject({ depth: 'stored', durable: true, by: 'me' })
    expect(events[4]?.data).toMatchObject({ generation: 2 })
  })

  it('deepens a frozen one, and ends what was open with the way back', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const running = runIn(test.node, id, ['sleep', '60'])
    running.catch(() => undefined)
    await expect.poll(async () => (await test.node.lifecycle(id)).holders.length, within).toBeGreaterThan(1)
    await test.node.pause(id, 'frozen', 'me')
    await test.node.pause(id, 'stored', 'me')
    await expect(running).rejects.toMatchObject({ code: 'stream_broken', sandboxState: 'paused' })
    expect((await eventsOf(test, id)).at(-1)).toMatchObject({ type: 'demoted', data: { durable: true } })
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('that cannot be saved leaves it running, with its exchanges over and its processes going on', async () => {
    let isBroken = true
    await using test = await testNode({
      wrap: (driver) => ({
        ...driver,
        start: async (spec, signal, disk) => {
          const machine = await driver.start(spec, signal, disk)
          return {
            ...machine,
            checkpoint: async (target, kind, given) => {
              if (isBroken) throw new Error('the disk is full')
              return await machine.checkpoint(target, kind, given)
            },
          }
        },
      }),
    })
    const id = await prepared(test)
    await expect(test.node.pause(id, 'stored', 'me')).rejects.toMatchObject({ code: 'internal' })
    expect(await test.node.get(id)).toMatchObject({ state: 'running' })
    expect(await heldInMemory(test.node, id)).toBe('secret')
    expect(await runIn(test.node, id, ['echo', 'on'])).toMatchObject({ stdout: 'on\n' })
    expect((await eventsOf(test, id)).at(-1)).toMatchObject({ type: 'pause_failed' })
    await test.node.pause(id, 'frozen', 'me')
    await expect(test.node.pause(id, 'stored', 'me')).rejects.toMatchObject({ code: 'internal' })
    expect(await test.node.get(id)).toMatchObject({ state: 'paused', depth: 'frozen' })
    expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
    isBroken = false
    expect(await test.node.pause(id, 'stored', 'me')).toMatchObject({ depth: 'stored' })
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('is refused where the runtime cannot, with what it can', async () => {
    await using test = await testNode({
      wrap: (driver) => ({
        ...driver,
        probe: async (signal) => ({ ...(await driver.probe(signal)), memorySnapshot: false }),
      }),
    })
    const id = await prepared(test)
    await expect(test.node.pause(id, 'stored', 'me')).rejects.toMatchObject({
      code: 'unsupported',
      remedy: expect.stringContaining('frozen'),
    })
    expect(await test.node.pause(id, 'frozen', 'me')).toMatchObject({ depth: 'frozen' })
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })
})

describe('a call to a paused sandbox', () => {
  it.each(['frozen', 'stored'] as const)('resumes one that is %s, once for all callers', async (depth) => {
    await using test = await testNode()
    const id = await prepared(test)
    await test.node.pause(id, depth, 'me')
    const answers = await Promise.all(Array.from({ length: 20 }, () => readIn(test.node, id, 'file')))
    expect(new Set(answers)).toEqual(new Set(['kept']))
    const resumed = (await eventsOf(test, id)).filter(({ type }) => type === 'resumed')
    expect(resumed).toHaveLength(1)
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('without autoResume is refused with the way out, and what only looks wakes nobody', async () => {
    await using test = await testNode()
    const id = await prepared(test, { autoResume: false })
    await test.node.pause(id, 'stored', 'me')
    await expect(readIn(test.node, id, 'file')).rejects.toMatchObject({
      code: 'state_conflict',
      sandboxState: 'paused',
      remedy: 'resume it',
      retryable: false,
    })
    const willing = await prepared(test)
    await test.node.pause(willing, 'frozen', 'me')
    await test.node.list()
    await test.node.lifecycle(willing)
    await expect(test.node.guest(willing, { method: 'GET', path: '/v1/metrics' })).rejects.toMatchObject({
      code: 'state_conflict',
    })
    expect(await test.node.get(willing)).toMatchObject({ state: 'paused' })
  })

  it('goes on resuming for others when its caller leaves', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    await test.node.pause(id, 'stored', 'me')
    const leaving = new AbortController()
    const gone = test.node.guest(id, { method: 'GET', path: '/v1/processes', signal: leaving.signal })
    leaving.abort()
    await expect(gone).rejects.toMatchObject({ code: 'canceled' })
    await expect.poll(() => test.node.get(id), within).toMatchObject({ state: 'running' })
  })
})

describe('time and idleness', () => {
  it('stores one whose time is over, and gives it its time again', async () => {
    await using test = await testNode()
    const id = await prepared(test, {
      expiresAtMs: Date.now() + 700,
      timeoutMs: 60_000,
      onTimeout: 'pause',
    })
    await expect.poll(() => test.node.get(id), within).toMatchObject({ state: 'paused', depth: 'stored' })
    const lifecycle = await test.node.lifecycle(id)
    expect(lifecycle.next).toEqual([])
    expect(lifecycle.explanation).toContain('deleted only when someone asks')
    const resumed = await test.node.resume(id, 'me')
    expect(resumed.lease.expiresAtMs).toBeGreaterThan(Date.now() + 50_000)
    expect(await heldInMemory(test.node, id)).toBe('secret')
  })

  it('freezes an idle one and stores it when it was frozen for long', async () => {
    await using test = await testNode({ options: { frozenKeptMs: 1_500 } })
    const spec = testSpec({ lease: lease({ idle: { afterMs: 1_000, action: 'pause' } }) })
    await test.node.create(spec)
    await writeIn(test.node, spec.id, 'file', 'kept')
    await expect.poll(() => test.node.get(spec.id), within).toMatchObject({ depth: 'frozen' })
    expect((await test.node.lifecycle(spec.id)).next).toMatchObject([{ action: 'store' }])
    await expect.poll(() => test.node.get(spec.id), within).toMatchObject({ depth: 'stored' })
    expect(test.world.machines.size).toBe(0)
    expect(await readIn(test.node, spec.id, 'file')).toBe('kept')
    const types = (await eventsOf(test, spec.id)).map(({ type }) => type)
    expect(types.slice(0, 6)).toEqual(['running', 'paused', 'pausing', 'demoted', 'resuming', 'resumed'])
  })

  it('stores frozen ones while the host is short of memory, longest frozen first', async () => {
    // More than any host has: it is always short.
    await using test = await testNode({ options: { frozenReserveBytes: 2 ** 60 } })
    const first = await prepared(test)
    const second = await prepared(test)
    await test.node.pause(first, 'frozen', 'me')
    await test.node.pause(second, 'frozen', 'me')
    await expect.poll(() => test.node.get(second), within).toMatchObject({ depth: 'stored' })
    const demoted = (await test.node.events(0, 1_000)).filter(({ type }) => type === 'demoted')
    expect(demoted.map(({ sandbox }) => sandbox)).toEqual([first, second])
    expect(await heldInMemory(test.node, first)).toBe('secret')
  })
})
