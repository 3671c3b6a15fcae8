import { describe, expect, it } from 'vitest'
import { cutConnection, json, sandboxRecord, scriptedServer } from '../../test/scripted-server.ts'
import { Atoll, AtollError, isAtollError } from '../index.ts'

const failure = (code: string, retryable: boolean): object => ({ code, message: 'no', retryable })

describe('a call', () => {
  it('carries the key and an idempotency key, and keeps that one over its retries', async () => {
    await using server = await scriptedServer([
      json(503, failure('overloaded', true)),
      cutConnection,
      json(201, sandboxRecord),
    ])
    const sandbox = await server.atoll.sandboxes.create({ env: { A: '1' } })
    expect(sandbox.id).toBe(sandboxRecord.id)
    expect(server.seen).toHaveLength(3)
    const keys = new Set(server.seen.map(({ headers }) => headers['idempotency-key']))
    expect(keys.size).toBe(1)
    expect([...keys][0]).toMatch(/^[0-9a-f]{32}$/)
    expect(server.seen[0]?.headers.authorization).toBe('Bearer atoll_test_key')
    expect(JSON.parse(server.seen[2]?.body ?? '')).toEqual({ env: { A: '1' } })
  })

  it('retries an answer that was cut in its body', async () => {
    await using server = await scriptedServer([
      (res) => {
        res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
        res.write('{"id":', () => setImmediate(() => res.destroy()))
      },
      json(200, sandboxRecord),
    ])
    expect((await server.atoll.sandboxes.connect('sbx_x')).id).toBe(sandboxRecord.id)
  })

  it('does not retry what a retry cannot help', async () => {
    await using server = await scriptedServer([json(400, failure('invalid_request', false))])
    const error = await server.atoll.sandboxes.create().catch((caught: unknown) => caught)
    expect(isAtollError(error, 'invalid_request')).toBe(true)
    expect(server.seen).toHaveLength(1)
  })

  it('retries a 429 with Retry-After, and not one without', async () => {
    await using server = await scriptedServer([
      json(429, failure('rate_limited', true), { 'retry-after': '0' }),
      json(429, failure('quota_exceeded', true)),
    ])
    const error = await server.atoll.sandboxes.create().catch((caught: unknown) => caught)
    expect(isAtollError(error, 'quota_exceeded')).toBe(true)
    expect(server.seen).toHaveLength(2)
  })

  it('gives up after a bounded number of tries', async () => {
    await using server = await scriptedServer(Array.from({ length: 9 }, () => cutConnection))
    const atoll = new Atoll({ baseUrl: server.atoll.connection.settings.baseUrl, apiKey: 'k', retries: 2 })
    await expect(atoll.health()).rejects.toMatchObject({ code: 'node_unreachable' })
    expect(server.seen).toHaveLength(3)
  })

  it('ends with deadline_client when nothing is answered', async () => {
    await using server = await scriptedServer([() => undefined])
    const error = await server.atoll.health({ deadlineMs: 100 }).catch((caught: unknown) => caught)
    expect(isAtollError(error, 'deadline_client')).toBe(true)
  })

  it('ends with canceled, and with the reason when that is one of Atoll', async () => {
    await using server = await scriptedServer([() => undefined, () => undefined])
    const plain = new AbortController()
    const first = server.atoll.health({ signal: plain.signal })
    plain.abort()
    await expect(first).rejects.toMatchObject({ code: 'canceled' })
    const reason = new AtollError('overloaded', 'enough')
    const second = server.atoll.health({ signal: AbortSignal.abort(reason) })
    await expect(second).rejects.toBe(reason)
  })

  it('reads an error that is none of Atoll by its status', async () => {
    await using server = await scriptedServer([
      (res) => res.writeHead(404, { 'content-type': 'text/html' }).end('<h1>nothing</h1>'),
    ])
    await expect(server.atoll.health()).rejects.toMatchObject({ code: 'not_found' })
  })

  it('asks for page after page, and only when the loop gets there', async () => {
    await using server = await scriptedServer([
      json(200, { sandboxes: [{ id: 'a' }, { id: 'b' }], nextCursor: 'two' }),
      json(200, { sandboxes: [{ id: 'c' }], nextCursor: null }),
    ])
    const ids: string[] = []
    for await (const { id } of server.atoll.sandboxes.list({ labels: { team: 'x' } })) {
      ids.push(id)
      expect(server.seen).toHaveLength(id === 'c' ? 2 : 1)
    }
    expect(ids).toEqual(['a', 'b', 'c'])
    expect(server.seen[1]?.url.searchParams.get('cursor')).toBe('two')
    expect(server.seen[1]?.url.searchParams.get('label.team')).toBe('x')
  })

  it('refuses a base URL that could never work', () => {
    expect(() => new Atoll({ baseUrl: 'localhost:7171' })).toThrow(/base URL/)
  })
})
