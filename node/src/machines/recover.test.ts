import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openRecords } from '../records/open.ts'
import type { RuntimeDriver } from '../runtimes/driver.ts'
import { simulatedWorld } from '../runtimes/simulated/world.ts'
import { heldInMemory, holdInMemory, readIn, writeIn } from './test-memory.ts'
import { runIn, testNode, testSpec } from './test-node.ts'
import { simulatedDriver } from '../runtimes/simulated/driver.ts'

const stopLease = {
  expiresAtMs: Date.now() + 600_000,
  timeoutMs: 600_000,
  onTimeout: 'stop',
  idle: null,
  autoResume: true,
  onHostLost: 'stop',
} as const

/** A runtime whose disk is a file of the host's, as the container's is. */
const keepingDisks = (driver: RuntimeDriver): RuntimeDriver => ({
  ...driver,
  probe: async (signal) => ({ ...(await driver.probe(signal)), diskSnapshot: 'host' }),
})

describe('a node daemon that comes back', () => {
  it('takes back what runs, with its processes, and goes on with its events', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    await runIn(test.node, spec.id, ['sh', '-c', 'echo kept > file'])
    const before = await test.node.events(0, 100)
    const node = await test.restart()
    expect(await node.get(spec.id)).toMatchObject({
      state: 'running',
      timings: { queueMs: expect.any(Number) },
    })
    expect(await runIn(node, spec.id, ['cat', 'file'])).toMatchObject({ stdout: 'kept\n' })
    expect(await node.create(spec)).toMatchObject({ state: 'running' })
    expect(test.world.started).toBe(1)
    const events = await node.events(before.at(-1)?.seq ?? 0, 100)
    expect(events.map(({ type }) => type)).toEqual(['recovered'])
    expect((await node.delete(spec.id, 'deleted', 'me')).processes).toBeGreaterThan(0)
    expect(test.world.machines.size).toBe(0)
  })

  it('ends the record of a machine that is gone, with the cause', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    test.world.machines.clear()
    const node = await test.restart()
    expect(await node.get(spec.id)).toMatchObject({ state: 'ended', ended: { cause: 'fault' } })
    expect(await readdir(join(test.folder, 'sandboxes'))).toEqual([])
  })

  it('tells a host that was started anew, and believes no pid of before', async () => {
    await using test = await testNode({ bootId: 'boot-1', wrap: keepingDisks })
    const lost = testSpec()
    const kept = testSpec({ lease: stopLease })
    await test.node.create(lost)
    await test.node.create(kept)
    await runIn(test.node, kept.id, ['sh', '-c', 'echo kept > file'])
    const node = await test.restart({ bootId: 'boot-2' })
    expect(await node.get(lost.id)).toMatchObject({ state: 'ended', ended: { cause: 'host_lost' } })
    expect(await node.get(kept.id)).toMatchObject({ state: 'stopped' })
    expect((await readdir(join(test.folder, 'sandboxes'))).length).toBe(1)
    await node.start(kept.id)
    expect(await runIn(node, kept.id, ['cat', 'file'])).toMatchObject({ stdout: 'kept\n' })
  })

  it('brings back what was stored or stopped over a new start of the host, and tells what was frozen', async () => {
    await using test = await testNode({ bootId: 'boot-1' })
    const [frozen, stored, stopped] = [testSpec(), testSpec(), testSpec()]
    for (const { id } of [frozen, stored, stopped]) {
      await test.node.create(id === frozen.id ? frozen : id === stored.id ? stored : stopped)
      await writeIn(test.node, id, 'file', 'kept')
      await holdInMemory(test.node, id, 'secret')
    }
    await test.node.pause(frozen.id, 'frozen', 'me')
    await test.node.pause(stored.id, 'stored', 'me')
    await test.node.stop(stopped.id, 'me')
    test.world.machines.clear()
    const node = await test.restart({ bootId: 'boot-2' })
    expect(await node.get(frozen.id)).toMatchObject({ ended: { cause: 'host_lost' } })
    expect(await node.get(stored.id)).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(await node.get(stopped.id)).toMatchObject({ state: 'stopped' })
    expect(await heldInMemory(node, stored.id)).toBe('secret')
    await node.start(stopped.id)
    expect(await readIn(node, stopped.id, 'file')).toBe('kept')
    expect(await heldInMemory(node, stopped.id)).toBeUndefined()
  })

  it('keeps what is frozen, with its memory', async () => {
    await using test = await testNode()
    const { id } = await test.node.create(testSpec())
    await holdInMemory(test.node, id, 'secret')
    await test.node.pause(id, 'frozen', 'me')
    const node = await test.restart()
    expect(await node.get(id)).toMatchObject({ state: 'paused', depth: 'frozen' })
    expect(await heldInMemory(node, id)).toBe('secret')
  })

  it('frees what a creation left that the daemon did not survive', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    await test.node[Symbol.asyncDispose]()
    const records = openRecords(test.folder)
    const record = records.sandboxes.get(spec.id)!
    expect(records.sandboxes.change(record, { state: 'creating', machine: null })).toBeDefined()
    records.close()
    const node = await test.restart()
    expect(await node.get(spec.id)).toMatchObject({ state: 'ended', ended: { cause: 'create_failed' } })
    expect(test.world.machines.size).toBe(0)
    await expect(node.create(spec)).rejects.toMatchObject({ code: 'sandbox_ended' })
  })

  it('goes on with a deletion that was begun, with its own cause', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    await test.node[Symbol.asyncDispose]()
    const records = openRecords(test.folder)
    const record = records.sandboxes.get(spec.id)!
    const ending = { cause: 'policy', by: 'key_x', message: 'a rule' } as const
    records.sandboxes.change(record, { state: 'deleting', ending, stateDeadlineMs: 0 })
    records.close()
    const node = await test.restart()
    await expect
      .poll(async () => await node.get(spec.id), { timeout: 5_000 })
      .toMatchObject({ state: 'ended', ended: { cause: 'policy', by: 'key_x' } })
    expect(test.world.machines.size).toBe(0)
  })

  it('removes folders only when they are positively ours and nothing lives', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    const sandboxes = join(test.folder, 'sandboxes')
    const own = await readdir(sandboxes)
    const foreign = join(sandboxes, 'sbx_aaaaaaaaaaaaaaaaaaaa')
    const orphan = join(sandboxes, 'sbx_bbbbbbbbbbbbbbbbbbbb')
    await mkdir(foreign)
    await mkdir(join(sandboxes, 'notes'))
    await mkdir(orphan)
    const marker = { id: 'sbx_bbbbbbbbbbbbbbbbbbbb', runtime: 'simulated', bootId: 'another' }
    await writeFile(join(orphan, 'sandbox.json'), JSON.stringify(marker))
    const told = await test.node.reconcile({ dryRun: true })
    expect(Object.fromEntries(told.map(({ directory, action }) => [directory, action]))).toEqual({
      [foreign]: 'leave',
      [join(sandboxes, 'notes')]: 'leave',
      [orphan]: 'remove',
    })
    expect((await readdir(sandboxes)).length).toBe(4)
    await test.node.reconcile({ dryRun: false })
    expect((await readdir(sandboxes)).toSorted()).toEqual(
      ['notes', 'sbx_aaaaaaaaaaaaaaaaaaaa', ...own].toSorted(),
    )
    expect(await test.node.get(spec.id)).toMatchObject({ state: 'running' })
  })

  it('keeps records of a runtime that this build has no driver for', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await test.node.create(spec)
    await test.restart({ drivers: [] })
    const node = await test.restart({ drivers: [simulatedDriver({ world: test.world })] })
    expect(await node.get(spec.id)).toMatchObject({ state: 'running' })
    expect(simulatedWorld().machines.size).toBe(0)
  })
})
