import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { runIn, testNode, testSpec } from './machines/test-node.ts'

describe('a node on the simulated runtime', () => {
  it('creates, runs, answers and deletes with a receipt', async () => {
    await using test = await testNode()
    const spec = testSpec()
    const created = await test.node.create(spec)
    expect(created).toMatchObject({ id: spec.id, state: 'running', isolation: { strength: 'none' } })
    expect(created.timings['totalMs']).toBeGreaterThanOrEqual(0)
    expect(await runIn(test.node, spec.id, ['sh', '-c', 'echo $GREETING; pwd; exit 3'])).toMatchObject({
      stdout: 'hello\n/home/user\n',
      exit: { code: 3, signal: null },
    })
    const receipt = await test.node.delete(spec.id, 'deleted', 'key_test')
    expect(receipt.processes).toBeGreaterThanOrEqual(1)
    expect(await readdir(join(test.folder, 'sandboxes'))).toEqual([])
    expect(await test.node.get(spec.id)).toMatchObject({
      state: 'ended',
      ended: { cause: 'deleted', by: 'key_test', receipt },
    })
    expect(await test.node.delete(spec.id, 'deleted', 'someone else')).toEqual(receipt)
  })

  it('tells "never existed" from "ended because"', async () => {
    await using test = await testNode()
    const spec = testSpec()
    await expect(test.node.get(spec.id)).rejects.toMatchObject({ code: 'not_found' })
    await expect(runIn(test.node, spec.id, ['true'])).rejects.toMatchObject({ code: 'not_found' })
    await test.node.create(spec)
    await test.node.delete(spec.id, 'deleted', 'me')
    await expect(runIn(test.node, spec.id, ['true'])).rejects.toMatchObject({
      code: 'sandbox_ended',
      details: { cause: 'deleted', by: 'me' },
    })
  })

  it('creates once for an id and spec, and refuses another spec', async () => {
    await using test = await testNode()
    const spec = testSpec()
    const both = await Promise.all([test.node.create(spec), test.node.create(spec)])
    expect(both.map(({ state }) => state)).toEqual(['running', 'running'])
    expect(test.world.started).toBe(1)
    const later = { ...spec, lease: { ...spec.lease, expiresAtMs: spec.lease.expiresAtMs + 1_000 } }
    expect(await test.node.create(later)).toMatchObject({ state: 'running' })
    await expect(test.node.create({ ...spec, hostname: 'other' })).rejects.toMatchObject({ code: 'conflict' })
  })

  it('chooses no simulation unless it is named', async () => {
    await using test = await testNode()
    await expect(test.node.create(testSpec({ runtime: null }))).rejects.toMatchObject({
      code: 'runtime_unavailable',
    })
    await expect(test.node.create(testSpec({ runtime: 'gvisor' }))).rejects.toMatchObject({
      code: 'runtime_unavailable',
    })
    expect((await test.node.info()).runtimes).toMatchObject([{ runtime: 'simulated', available: true }])
  })
})
