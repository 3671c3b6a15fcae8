import type { NodeEvent } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { runIn, testNode, testSpec } from './test-node.ts'

const lease = (change: object) => ({
  expiresAtMs: Date.now() + 600_000,
  timeoutMs: 600_000,
  onTimeout: 'delete' as const,
  idle: null,
  autoResume: true,
  onHostLost: 'delete' as const,
  ...change,
})
const within = { timeout: 8_000, interval: 30 }

describe('leases', () => {
  it('ends a sandbox at its deadline, and tells so', async () => {
    await using test = await testNode()
    const events: NodeEvent[] = []
    using _listening = test.node.onEvent((event) => events.push(event))
    const spec = testSpec({ lease: lease({ expiresAtMs: Date.now() + 400 }) })
    await test.node.create(spec)
    await expect
      .poll(() => test.node.get(spec.id), within)
      .toMatchObject({
        state: 'ended',
        ended: { cause: 'deadline', by: 'node' },
      })
    expect(events.map(({ type }) => type)).toEqual(['running', 'deleting', 'ended'])
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3])
    expect(await test.node.events(1, 10)).toEqual(events.slice(1))
  })

  it('ends one whose deadline passed while no daemon lived', async () => {
    await using test = await testNode()
    const spec = testSpec({ lease: lease({ expiresAtMs: Date.now() + 300 }) })
    await test.node.create(spec)
    await test.node[Symbol.asyncDispose]()
    await new Promise((resolve) => setTimeout(resolve, 400))
    const node = await test.restart()
    await expect.poll(() => node.get(spec.id), within).toMatchObject({ ended: { cause: 'deadline' } })
  })

  it('stops at the deadline and starts again on the same disk', async () => {
    await using test = await testNode()
    const spec = testSpec({ lease: lease({ expiresAtMs: Date.now() + 700, onTimeout: 'stop' }) })
    await test.node.create(spec)
    await runIn(test.node, spec.id, ['sh', '-c', 'echo kept > file'])
    await expect.poll(() => test.node.get(spec.id), within).toMatchObject({ state: 'stopped' })
    await expect(runIn(test.node, spec.id, ['true'])).rejects.toMatchObject({
      code: 'state_conflict',
      remedy: 'start it first',
    })
    await expect(test.node.start(spec.id)).rejects.toMatchObject({ code: 'state_conflict' })
    await test.node.setLease(spec.id, { expiresAtMs: Date.now() + 600_000 })
    expect(await test.node.start(spec.id)).toMatchObject({ state: 'running' })
    expect(await runIn(test.node, spec.id, ['cat', 'file'])).toMatchObject({ stdout: 'kept\n' })
    await test.node.stop(spec.id, 'me')
    expect((await test.node.delete(spec.id, 'deleted', 'me')).files).toBeGreaterThan(0)
  })

  it('deletes an idle one, but not while a process runs that nobody follows', async () => {
    await using test = await testNode()
    const spec = testSpec({ lease: lease({ idle: { afterMs: 1_000, action: 'delete' } }) })
    await test.node.create(spec)
    await test.node.guest(spec.id, {
      method: 'PUT',
      path: '/v1/processes/alone',
      body: Buffer.from(JSON.stringify({ argv: ['sleep', '2.5'] })),
    })
    const lifecycle = await test.node.lifecycle(spec.id)
    expect(lifecycle).toMatchObject({ idleSinceMs: null, holders: [{ kind: 'process', name: 'alone' }] })
    expect(lifecycle.explanation).toContain('Held by process alone')
    await new Promise((resolve) => setTimeout(resolve, 1_800))
    expect(await test.node.get(spec.id)).toMatchObject({ state: 'running' })
    await expect.poll(() => test.node.get(spec.id), within).toMatchObject({ ended: { cause: 'idle' } })
    const ended = (await test.node.get(spec.id)).ended?.atMs ?? 0
    expect(ended - lifecycle.holders[0]!.sinceMs).toBeGreaterThan(3_400)
  })

  it('counts passive traffic as no holder, an open exchange and a client lease as one', async () => {
    await using test = await testNode()
    const spec = testSpec({ lease: lease({ idle: { afterMs: 60_000, action: 'delete' } }) })
    await test.node.create(spec)
    await test.node.list()
    const open = await test.node.guest(spec.id, {
      method: 'GET',
      path: '/v1/health',
      holder: { kind: 'connection', name: 'c1' },
    })
    const held = await test.node.hold(spec.id, 'laptop', 60_000)
    expect(held.untilMs).toBeGreaterThan(Date.now() + 50_000)
    expect((await test.node.lifecycle(spec.id)).holders.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      'connection c1',
      'lease laptop',
    ])
    open.body.destroy()
    await test.node.release(spec.id, 'laptop')
    await test.node.release(spec.id, 'laptop')
    await expect.poll(async () => (await test.node.lifecycle(spec.id)).holders, within).toEqual([])
    const { next, idleSinceMs } = await test.node.lifecycle(spec.id)
    expect(next[0]).toMatchObject({ action: 'delete', atMs: (idleSinceMs ?? 0) + 60_000 })
  })

  it('refuses to promise a disk that the runtime does not keep', async () => {
    await using test = await testNode({
      wrap: (driver) => ({
        ...driver,
        probe: async (signal) => ({ ...(await driver.probe(signal)), diskStop: false }),
      }),
    })
    for (const change of [
      { onTimeout: 'stop' },
      { onHostLost: 'stop' },
      { idle: { afterMs: 1_000, action: 'stop' } },
    ])
      await expect(test.node.create(testSpec({ lease: lease(change) }))).rejects.toMatchObject({
        code: 'unsupported',
      })
    const spec = testSpec()
    await test.node.create(spec)
    await expect(test.node.setLease(spec.id, { onTimeout: 'stop' })).rejects.toMatchObject({
      code: 'unsupported',
    })
    await expect(test.node.stop(spec.id, 'me')).rejects.toMatchObject({ code: 'unsupported' })
  })
})
