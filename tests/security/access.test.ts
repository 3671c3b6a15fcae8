import { AtollError } from '@atoll/protocol'
import { Atoll, type Sandbox } from '@atoll/sdk'
import { beforeAll, describe, expect, it } from 'vitest'
import { attackEach } from './battery.ts'
import { call } from './call.ts'

/** Every way to touch one sandbox; the body is what an honest client would send. */
const touches: readonly { method: string; path: string; body?: string }[] = [
  { method: 'GET', path: '' },
  { method: 'DELETE', path: '' },
  { method: 'POST', path: '/extend', body: '{"timeoutMs":60000}' },
  { method: 'POST', path: '/stop', body: '{}' },
  { method: 'GET', path: '/lifecycle' },
  { method: 'GET', path: '/events' },
  { method: 'POST', path: '/tokens', body: '{"ttlMs":60000,"access":"use"}' },
  { method: 'GET', path: '/metrics' },
  { method: 'GET', path: '/processes' },
  { method: 'POST', path: '/processes?wait=1', body: '{"argv":["true"]}' },
  { method: 'GET', path: '/processes/p1' },
  { method: 'POST', path: '/processes/p1/signal', body: '{"signal":"SIGTERM"}' },
  { method: 'GET', path: '/files?path=/etc/hostname' },
  { method: 'PUT', path: '/files?path=/tmp/x', body: 'x' },
  { method: 'GET', path: '/files/stat?path=/' },
  { method: 'POST', path: '/files/remove', body: '{"path":"/tmp/x"}' },
  { method: 'GET', path: '/tar?path=/tmp' },
]

attackEach('access', ({ create, stack }) => {
  let sandbox: Sandbox
  let foreign: string
  beforeAll(async () => {
    sandbox = await create()
    const project = await stack().atoll.projects.create({ name: `other-${sandbox.id.slice(4)}` })
    foreign = (
      await stack().atoll.keys.create({
        name: 'foreign',
        scopes: ['sandboxes:read', 'sandboxes:write', 'templates:read', 'templates:write', 'keys:write'],
        project: project.id,
      })
    ).secret
  })
  const touch = async (key: string | null, one: (typeof touches)[number], id = sandbox.id) => {
    const { method, path, body } = one
    return await call(stack(), `/v1/sandboxes/${id}${path}`, {
      method,
      key,
      ...(body === undefined ? {} : { body }),
    })
  }

  it.each(touches)("another project's key sees no sandbox: $method $path", async (one) => {
    const answer = await touch(foreign, one)
    expect([answer.status, answer.code]).toEqual([404, 'not_found'])
  })

  it('does not tell an existing sandbox of another project from one that never was', async () => {
    const never = await touch(foreign, { method: 'GET', path: '' }, 'sbx_aaaaaaaaaaaaaaaaaaaa')
    const other = await touch(foreign, { method: 'GET', path: '' })
    const tidy = (text: string): string => text.replaceAll(/sbx_[a-z2-7]{20}|"traceId":"[^"]*"/g, '*')
    expect(tidy(other.text)).toBe(tidy(never.text))
  })

  it('lists nothing of another project', async () => {
    const list = await call(stack(), '/v1/sandboxes', { key: foreign })
    expect(list.status).toBe(200)
    expect(list.text).not.toContain(sandbox.id)
    expect((await call(stack(), '/v1/keys', { key: foreign })).text).not.toContain('"admin"')
  })

  it.each(touches.slice(0, 2))('without a key nothing: $method $path', async (one) => {
    const answer = await touch(null, one)
    expect([answer.status, answer.code]).toEqual([401, 'unauthenticated'])
  })

  it('does not let a key make a stronger key', async () => {
    const body = JSON.stringify({ name: 'evil', scopes: ['admin'] })
    const answer = await call(stack(), '/v1/keys', { method: 'POST', key: foreign, body })
    expect([answer.status, answer.code]).toEqual([403, 'forbidden'])
  })

  it('does not let a reader write', async () => {
    const { secret } = await stack().atoll.keys.create({ name: 'reader', scopes: ['sandboxes:read'] })
    for (const one of touches.filter(({ method, path }) => method !== 'GET' && path !== '/tokens')) {
      const answer = await touch(secret, one)
      expect([answer.status, answer.code], `${one.method} ${one.path}`).toEqual([403, 'forbidden'])
    }
    expect((await sandbox.refresh()).state).toBe('running')
  })

  it('a revoked key stops at once', async () => {
    const key = await stack().atoll.keys.create({ name: 'short', scopes: ['sandboxes:read'] })
    expect((await touch(key.secret, { method: 'GET', path: '' })).status).toBe(200)
    await stack().atoll.keys.revoke(key.id)
    expect((await touch(key.secret, { method: 'GET', path: '' })).status).toBe(401)
  })

  describe('sandbox tokens', () => {
    const tokenFor = async (ttlMs: number, access: 'read' | 'use'): Promise<string> => {
      const body = JSON.stringify({ ttlMs, access })
      const answer = await call(stack(), `/v1/sandboxes/${sandbox.id}/tokens`, { method: 'POST', body })
      expect(answer.status).toBeLessThan(300)
      return (JSON.parse(answer.text) as { token: string }).token
    }
    const run = { method: 'POST', path: '/processes?wait=1', body: '{"argv":["true"]}' } as const

    it('negative twin: a good one is good for its own sandbox', async () => {
      expect((await touch(await tokenFor(60_000, 'use'), run)).status).toBe(200)
    })

    it('is good for nothing else', async () => {
      const token = await tokenFor(60_000, 'use')
      const other = await create()
      expect((await touch(token, run, other.id)).status).toBeGreaterThanOrEqual(401)
      for (const one of [touches[1], touches[2], touches[6]])
        if (one !== undefined) expect([401, 403, 404]).toContain((await touch(token, one)).status)
      expect([401, 403]).toContain((await call(stack(), '/v1/sandboxes', { key: token })).status)
    })

    it('to read does not run', async () => {
      expect((await touch(await tokenFor(60_000, 'read'), run)).status).toBe(403)
    })

    it('expired or changed in one place is refused', async () => {
      const token = await tokenFor(1_000, 'use')
      for (const at of [Math.floor(token.length / 2)]) {
        const changed = `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`
        expect((await touch(changed, run)).status).toBe(401)
      }
      await new Promise((resolve) => setTimeout(resolve, 1_200))
      expect((await touch(token, run)).status).toBe(401)
    })
  })

  it('gives a deleted sandbox back exactly once, however often it is deleted', async () => {
    const project = await stack().atoll.projects.create({
      name: `one-${sandbox.id.slice(4, 10)}`,
      quota: { sandboxes: 1, cpuMillis: 4_000, memoryMib: 4_096 },
    })
    const { secret } = await stack().atoll.keys.create({
      name: 'one',
      scopes: ['sandboxes:read', 'sandboxes:write', 'templates:read'],
      project: project.id,
    })
    const own = new Atoll({ baseUrl: stack().url, apiKey: secret })
    const first = await own.sandboxes.create({ runtime: sandbox.isolation.runtime })
    await expect(own.sandboxes.create({})).rejects.toMatchObject({ code: 'quota_exceeded' })
    const receipts = await Promise.all([first.delete(), first.delete(), first.delete()])
    expect(new Set(receipts.map((receipt) => JSON.stringify(receipt))).size).toBe(1)
    expect(JSON.stringify(await first.delete())).toBe(JSON.stringify(receipts[0]))
    const second = await own.sandboxes.create({ runtime: sandbox.isolation.runtime })
    await expect(own.sandboxes.create({})).rejects.toBeInstanceOf(AtollError)
    await second.delete()
  }, 60_000)
})
