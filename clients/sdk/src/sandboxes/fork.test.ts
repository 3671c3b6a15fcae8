import { describe, expect, it } from 'vitest'
import {
  json,
  ndjson,
  out,
  processRecord,
  sandboxRecord,
  scriptedServer,
} from '../../test/scripted-server.ts'

const first = { ...sandboxRecord, id: 'sbx_bbbbbbbbbbbbbbbbbbbb', generation: 2 }
const failed = {
  ok: false,
  id: 'sbx_cccccccccccccccccccc',
  error: { code: 'overloaded', message: 'no place', retryable: true },
}
const partly = { parent: sandboxRecord.id, pausedMs: 9, children: [{ ok: true, sandbox: first }, failed] }

describe('fork', () => {
  it('is all or none: the children that came are deleted where one failed', async () => {
    await using server = await scriptedServer([
      json(200, sandboxRecord),
      json(201, partly),
      json(200, { sandbox: first, receipt: {} }),
    ])
    const parent = await server.atoll.sandboxes.connect(sandboxRecord.id)
    await expect(parent.fork({ count: 2, timeoutMs: 5_000 })).rejects.toMatchObject({
      code: 'overloaded',
      message: 'no place',
    })
    const [, asked, gone] = server.seen
    expect([asked?.method, asked?.url.pathname]).toEqual(['POST', `/v1/sandboxes/${parent.id}/fork`])
    expect(JSON.parse(asked?.body ?? '')).toEqual({ count: 2, timeoutMs: 5_000 })
    expect(asked?.headers['idempotency-key']).toBeDefined()
    expect([gone?.method, gone?.url.pathname]).toEqual(['DELETE', `/v1/sandboxes/${first.id}`])
  })

  it('tells each child by forkResults and deletes none', async () => {
    await using server = await scriptedServer([json(200, sandboxRecord), json(201, partly)])
    const parent = await server.atoll.sandboxes.connect(sandboxRecord.id)
    const { pausedMs, children } = await parent.forkResults({ count: 2 })
    expect(pausedMs).toBe(9)
    expect(children.map((child) => (child.ok ? child.sandbox.generation : child.error.code))).toEqual([
      2,
      'overloaded',
    ])
    expect(server.seen).toHaveLength(2)
  })
})

it('does not take up a stream that ended because the sandbox was paused', async () => {
  const error = { code: 'state_conflict', message: 'paused', retryable: false, sandboxState: 'paused' }
  await using server = await scriptedServer([
    json(200, sandboxRecord),
    ndjson([{ type: 'started', process: processRecord }, out('stdout', 0, 'a'), { type: 'error', error }]),
  ])
  const sandbox = await server.atoll.sandboxes.connect(sandboxRecord.id)
  await expect(sandbox.run(['x'])).rejects.toMatchObject({ code: 'state_conflict', sandboxState: 'paused' })
  expect(server.seen).toHaveLength(2)
})
