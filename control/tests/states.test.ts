import { AtollError } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { failingTimeoutMs } from './fake-saving.ts'
import { recorder, startControl } from './start-control.ts'

type Stack = Awaited<ReturnType<typeof startControl>>

const make = async (control: Stack, input: object = {}): Promise<string> => {
  const made = await control.call('POST', '/v1/sandboxes', input)
  expect(made.status, JSON.stringify(made.body)).toBe(201)
  return made.body['id']
}

it('pauses at a depth, deepens, resumes with the next generation, and enters each into the log', async () => {
  const node = fakeNode()
  const { logger, errors } = recorder()
  await using control = await startControl(node.api, { logger })
  const id = await make(control)
  const path = `/v1/sandboxes/${id}`
  const frozen = await control.call('POST', `${path}/pause`, { depth: 'frozen' })
  expect(frozen.body).toMatchObject({ state: 'paused', depth: 'frozen', generation: 1 })
  const stored = await control.call('POST', `${path}/pause`, {})
  expect(stored.body).toMatchObject({ state: 'paused', depth: 'stored' })
  expect((await control.call('GET', '/v1/sandboxes?state=paused')).body['sandboxes']).toHaveLength(1)
  const back = await control.call('POST', `${path}/resume`)
  expect(back.body).toMatchObject({ state: 'running', depth: null, generation: 2 })
  expect((await control.call('POST', `${path}/resume`)).body['version']).toBe(back.body['version'])
  const log = await (await control.raw('GET', `${path}/events`)).text()
  const types = log
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).type)
  for (const type of ['act.pause', 'state.paused', 'depth', 'act.resume', 'state.running'])
    expect(types).toContain(type)
  expect(errors).toEqual([])
})

it('resumes a stopped one by its start, and refuses an ended one by its cause', async () => {
  await using control = await startControl(fakeNode().api)
  const id = await make(control)
  await control.call('POST', `/v1/sandboxes/${id}/stop`)
  expect((await control.call('POST', `/v1/sandboxes/${id}/resume`)).body['state']).toBe('running')
  await control.call('DELETE', `/v1/sandboxes/${id}`)
  for (const verb of ['pause', 'resume', 'fork', 'snapshots']) {
    const refused = await control.call('POST', `/v1/sandboxes/${id}/${verb}`, {})
    expect([verb, refused.status, refused.body['code']]).toEqual([verb, 410, 'sandbox_ended'])
  }
})

it('counts a frozen one for its memory, a stored one for its place, and both again at resume', async () => {
  await using control = await startControl(fakeNode().api)
  const quota = { sandboxes: 4, cpuMillis: 1_000, memoryMib: 512 }
  const project = (await control.call('POST', '/v1/projects', { name: 'small', quota })).body
  const scopes = ['sandboxes:write']
  const { secret } = (await control.call('POST', '/v1/keys', { name: 'k', scopes, project: project['id'] }))
    .body
  const headers = { authorization: `Bearer ${secret}` }
  const call = (method: string, path: string, body?: unknown) => control.call(method, path, body, headers)
  const first = (await call('POST', '/v1/sandboxes', {})).body['id']
  await call('POST', `/v1/sandboxes/${first}/pause`, { depth: 'frozen' })
  const refused = await call('POST', '/v1/sandboxes', {})
  expect([refused.body['code'], refused.body['details']?.limit]).toEqual(['quota_exceeded', 'memoryMib'])
  await call('POST', `/v1/sandboxes/${first}/pause`, { depth: 'stored' })
  const second = (await call('POST', '/v1/sandboxes', {})).body['id']
  const resumed = await call('POST', `/v1/sandboxes/${first}/resume`)
  expect([resumed.status, resumed.body['code']]).toEqual([429, 'quota_exceeded'])
  const access = {
    sandbox: first,
    access: 'use',
    authorization: headers.authorization,
    token: undefined,
    remoteAddress: '::1',
  } as const
  await expect(control.control.authorize(access)).rejects.toMatchObject({ code: 'quota_exceeded' })
  expect((await call('GET', `/v1/sandboxes/${first}`)).body['state']).toBe('paused')
  await call('DELETE', `/v1/sandboxes/${second}`)
  await expect(control.control.authorize(access)).resolves.toMatchObject({ project: project['id'] })
  expect((await call('POST', `/v1/sandboxes/${first}/resume`)).body['state']).toBe('running')
})

it('forks into children with the labels and lease of their parent', async () => {
  await using control = await startControl(fakeNode().api)
  const idle = { afterMs: 5_000, action: 'pause' }
  const id = await make(control, { name: 'box', labels: { a: 'x' }, timeoutMs: 90_000, idle })
  const forked = await control.call('POST', `/v1/sandboxes/${id}/fork`, { count: 3 })
  expect(forked.status).toBe(201)
  expect(forked.body).toMatchObject({ parent: id, pausedMs: 8 })
  const children: ReturnType<typeof JSON.parse>[] = forked.body['children']
  expect(children.map(({ ok }) => ok)).toEqual([true, true, true])
  expect(new Set(children.map(({ sandbox }) => sandbox.id)).size).toBe(3)
  const [{ sandbox }] = children
  expect(sandbox).toMatchObject({ state: 'running', parent: id, name: null, labels: { a: 'x' }, idle })
  expect(sandbox.generation).toBe(2)
  expect(sandbox.expiresAtMs - sandbox.createdAtMs).toBe(90_000)
  expect((await control.call('GET', '/v1/sandboxes?label.a=x')).body['sandboxes']).toHaveLength(4)
})

it('claims the quota of all children or of none, and gives back what failed', async () => {
  await using control = await startControl(fakeNode().api)
  const quota = { sandboxes: 4, cpuMillis: 100_000, memoryMib: 100_000 }
  const project = (await control.call('POST', '/v1/projects', { name: 'few', quota })).body['id']
  const key = await control.call('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:write'], project })
  const headers = { authorization: `Bearer ${key.body['secret']}` }
  const call = (path: string, body: unknown) => control.call('POST', path, body, headers)
  const { id } = (await call('/v1/sandboxes', {})).body
  const refused = await call(`/v1/sandboxes/${id}/fork`, { count: 4 })
  expect(refused.body['code']).toBe('quota_exceeded')
  const list = async () => (await control.call('GET', '/v1/sandboxes', undefined, headers)).body['sandboxes']
  expect(await list()).toHaveLength(1)
  const partly = await call(`/v1/sandboxes/${id}/fork`, { count: 3, timeoutMs: failingTimeoutMs })
  const oks = partly.body['children'].map(({ ok }: { ok: boolean }) => ok)
  expect(oks).toContain(false)
  for (const child of partly.body['children'])
    if (!child.ok) expect(child.error).toMatchObject({ code: 'overloaded', message: 'no place is free' })
  expect(await list()).toHaveLength(1 + oks.filter(Boolean).length)
  const left = 3 - oks.filter(Boolean).length
  expect((await call(`/v1/sandboxes/${id}/fork`, { count: left })).status).toBe(201)
})

it('answers a repeated fork with the same children, also after a crash in the middle', async () => {
  const node = fakeNode()
  await using first = await startControl(node.api)
  const { dataFolder, key } = first
  const id = await make(first)
  const headers = { 'idempotency-key': 'f1' }
  const fork = node.api.fork.bind(node.api)
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<string[]>()
  // The node makes two of the three, and control is gone before the answer.
  node.api.fork = async (parent, children, by) => {
    node.api.fork = fork
    await fork(parent, children.slice(0, 2), by)
    arrive(children.map((child) => child.id))
    return await new Promise(() => {})
  }
  void first.call('POST', `/v1/sandboxes/${id}/fork`, { count: 3 }, headers).catch(() => {})
  const ids = await arrived
  await first.stop()

  await using second = await startControl(node.api, { dataFolder, key })
  const again = await second.call('POST', `/v1/sandboxes/${id}/fork`, { count: 3 }, headers)
  expect(again.status).toBe(201)
  const told = again.body['children'].map((child: ReturnType<typeof JSON.parse>) =>
    child.ok ? [child.sandbox.id, 'running'] : [child.id, child.error.code],
  )
  expect(told).toEqual([
    [ids[0], 'running'],
    [ids[1], 'running'],
    [ids[2], 'sandbox_ended'],
  ])
  const third = await second.call('POST', `/v1/sandboxes/${id}/fork`, { count: 3 }, headers)
  expect(third.headers.get('idempotency-replayed')).toBe('true')
})

it('lets a repeated fork be a new try when the first failed as a whole', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const id = await make(control)
  const headers = { 'idempotency-key': 'f2' }
  const fork = node.api.fork.bind(node.api)
  node.api.fork = () => Promise.reject(new AtollError('host_disk_full', 'no room for the image'))
  const failed = await control.call('POST', `/v1/sandboxes/${id}/fork`, { count: 2 }, headers)
  expect([failed.status, failed.body['code']]).toEqual([507, 'host_disk_full'])
  expect((await control.call('GET', '/v1/sandboxes')).body['sandboxes']).toHaveLength(1)
  node.api.fork = fork
  const made = await control.call('POST', `/v1/sandboxes/${id}/fork`, { count: 2 }, headers)
  expect(made.body['children'].map(({ ok }: { ok: boolean }) => ok)).toEqual([true, true])
})
