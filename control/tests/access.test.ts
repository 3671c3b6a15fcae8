import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { startControl } from './start-control.ts'

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` })

it('refuses without a key, with a wrong one, and at once with a revoked one', async () => {
  await using control = await startControl(fakeNode().api)
  const anonymous = await fetch(`${control.base}/v1/sandboxes`)
  expect(anonymous.status).toBe(401)
  expect(await anonymous.json()).toMatchObject({ code: 'unauthenticated', retryable: false })
  const wrong = `${control.key.slice(0, -1)}${control.key.endsWith('a') ? 'b' : 'a'}`
  expect((await control.call('GET', '/v1/sandboxes', undefined, bearer(wrong))).status).toBe(401)
  const made = await control.call('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:read'] })
  const headers = bearer(made.body['secret'])
  expect((await control.call('GET', '/v1/sandboxes', undefined, headers)).status).toBe(200)
  const refused = await control.call('POST', '/v1/sandboxes', {}, headers)
  expect([refused.status, refused.body['code']]).toEqual([403, 'forbidden'])
  await control.call('DELETE', `/v1/keys/${made.body['id']}`)
  expect((await control.call('GET', '/v1/sandboxes', undefined, headers)).status).toBe(401)
  expect((await fetch(`${control.base}/v1/health`)).status).toBe(200)
})

it("does not tell that another project's sandbox exists", async () => {
  await using control = await startControl(fakeNode().api)
  const { id } = (await control.call('POST', '/v1/sandboxes', {})).body
  const project = (await control.call('POST', '/v1/projects', { name: 'other' })).body['id']
  const scopes = ['sandboxes:write', 'keys:write']
  const key = (await control.call('POST', '/v1/keys', { name: 'k', scopes, project })).body['secret']
  const headers = bearer(key)
  const unknown = 'sbx_aaaaaaaaaaaaaaaaaaaa'
  for (const [method, path] of [
    ['GET', ''],
    ['DELETE', ''],
    ['GET', '/lifecycle'],
    ['GET', '/events'],
    ['POST', '/stop'],
  ]) {
    const theirs = await control.call(method ?? '', `/v1/sandboxes/${id}${path}`, undefined, headers)
    const nobodys = await control.call(method ?? '', `/v1/sandboxes/${unknown}${path}`, undefined, headers)
    expect(theirs.status).toBe(404)
    expect(theirs.body['message'].replace(id, unknown)).toBe(nobodys.body['message'])
  }
  const list = await control.call('GET', '/v1/sandboxes', undefined, headers)
  expect(list.body['sandboxes']).toEqual([])
  const raised = await control.call('POST', '/v1/keys', { name: 'k', scopes: ['admin'] }, headers)
  expect(raised.body['code']).toBe('forbidden')
  expect((await control.call('GET', '/v1/projects', undefined, headers)).status).toBe(403)
  // The negative twin: the admin of another project does see it.
  expect((await control.call('GET', `/v1/sandboxes/${id}`)).status).toBe(200)
})

it('claims quotas atomically', async () => {
  await using control = await startControl(fakeNode().api)
  const quota = { sandboxes: 3, cpuMillis: 64_000, memoryMib: 65_536 }
  const project = (await control.call('POST', '/v1/projects', { name: 'small', quota })).body['id']
  const input = { name: 'k', scopes: ['sandboxes:write'], project }
  const headers = bearer((await control.call('POST', '/v1/keys', input)).body['secret'])
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => control.call('POST', '/v1/sandboxes', {}, headers)),
  )
  expect(answers.filter((answer) => answer.status === 201)).toHaveLength(3)
  expect(answers.filter((answer) => answer.body['code'] === 'quota_exceeded')).toHaveLength(7)
  await control.call('PATCH', `/v1/projects/${project}`, { quota: { sandboxes: 4 } })
  const big = await control.call('POST', '/v1/sandboxes', { limits: { memoryMib: 65_536 } }, headers)
  expect(big.body['details']).toMatchObject({ limit: 'memoryMib' })
  expect((await control.call('POST', '/v1/sandboxes', {}, headers)).status).toBe(201)
})

it('bounds failed authentications of an address, and lets good keys through, seen before or not', async () => {
  await using control = await startControl(fakeNode().api, { limits: { failuresBurst: 3 } })
  await control.call('GET', '/v1/sandboxes')
  const statuses: number[] = []
  for (let i = 0; i < 5; i++)
    statuses.push((await control.call('GET', '/v1/sandboxes', undefined, bearer(`nonsense${i}`))).status)
  expect(statuses).toEqual([401, 401, 401, 429, 429])
  expect((await control.call('GET', '/v1/sandboxes')).status).toBe(200)
  const fresh = (await control.call('POST', '/v1/keys', { name: 'fresh', scopes: ['sandboxes:write'] })).body
  const headers = bearer(String(fresh['secret']))
  const made = await control.call('POST', '/v1/sandboxes', {}, headers)
  expect(made.status).toBe(201)
  const path = `/v1/sandboxes/${made.body['id']}/tokens`
  const token = (await control.call('POST', path, { ttlMs: 60_000, access: 'use' }, headers)).body['token']
  const guest = {
    sandbox: String(made.body['id']),
    access: 'use',
    authorization: `Bearer ${token}`,
    token: undefined,
    remoteAddress: '127.0.0.1',
  } as const
  expect(await control.control.authorize(guest)).toMatchObject({ key: fresh['id'] })
})

it('bounds the requests of a key and says when to come back', async () => {
  await using control = await startControl(fakeNode().api, {
    limits: { keyRequestsBurst: 2, keyRequestsPerSecond: 0.5 },
  })
  await control.call('GET', '/v1/sandboxes')
  await control.call('GET', '/v1/sandboxes')
  const third = await control.call('GET', '/v1/sandboxes')
  expect([third.status, third.body['code']]).toEqual([429, 'rate_limited'])
  expect(Number(third.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
})

it('authorizes guest calls by key and by token, and stops at once', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const { authorize } = control.control
  const sandbox = (await control.call('POST', '/v1/sandboxes', {})).body['id']
  const other = (await control.call('POST', '/v1/sandboxes', {})).body['id']
  const ask = (authorization: string, access: 'read' | 'use' = 'use', id = sandbox) =>
    authorize({ sandbox: id, access, authorization, token: undefined, remoteAddress: '::1' }).then(
      () => 'passes',
      (error) => error.code,
    )
  expect(await ask(`Bearer ${control.key}`)).toBe('passes')
  expect(await ask('')).toBe('unauthenticated')
  const maker = (await control.call('POST', '/v1/keys', { name: 'm', scopes: ['sandboxes:write'] })).body
  const mint = async (access: string) =>
    `Bearer ${(await control.call('POST', `/v1/sandboxes/${sandbox}/tokens`, { ttlMs: 60_000, access }, bearer(maker['secret']))).body['token']}`
  const [use, read] = [await mint('use'), await mint('read')]
  expect([await ask(use), await ask(read), await ask(read, 'read')]).toEqual([
    'passes',
    'forbidden',
    'passes',
  ])
  expect(await ask(use, 'use', other)).toBe('not_found')
  expect(await ask(`${use.slice(0, -3)}AAA`)).toBe('unauthenticated')
  expect((await control.raw('GET', '/v1/sandboxes', { headers: { authorization: use } })).status).toBe(401)
  await control.call('DELETE', `/v1/keys/${maker['id']}`)
  expect(await ask(use)).toBe('unauthenticated')
  await control.call('DELETE', `/v1/sandboxes/${sandbox}`)
  expect(await ask(`Bearer ${control.key}`)).toBe('sandbox_ended')
  const mode = (await stat(join(control.dataFolder, 'keys/sandbox-token.key'))).mode & 0o777
  expect(mode).toBe(0o600)
})
