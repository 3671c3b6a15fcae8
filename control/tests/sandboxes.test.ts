import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { recorder, startControl } from './start-control.ts'

it('creates, gets, lists and deletes over HTTP', async () => {
  const node = fakeNode()
  const { logger, errors } = recorder()
  await using control = await startControl(node.api, { logger })
  const made = await control.call('POST', '/v1/sandboxes', { labels: { a: 'x' }, env: { B: '2' } })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({ state: 'running', template: 'base', isolation: { runtime: 'simulated' } })
  expect(made.headers.get('x-atoll-trace-id')).toMatch(/^[a-f0-9]{32}$/)
  const { id } = made.body
  expect((await control.call('GET', `/v1/sandboxes/${id}`)).body['id']).toBe(id)
  expect((await control.call('GET', '/v1/sandboxes?label.a=x')).body['sandboxes']).toHaveLength(1)
  expect((await control.call('GET', '/v1/sandboxes?label.a=y')).body['sandboxes']).toHaveLength(0)
  const gone = await control.call('DELETE', `/v1/sandboxes/${id}`)
  expect(gone.status).toBe(200)
  expect(gone.body['receipt']).toEqual({ processes: 3, cgroups: 1, mounts: 2, files: 4, durationMs: 5 })
  expect(gone.body['sandbox'].ended.cause).toBe('deleted')
  expect((await control.call('DELETE', `/v1/sandboxes/${id}`)).body).toEqual(gone.body)
  const tombstone = await control.call('GET', `/v1/sandboxes/${id}`)
  expect(tombstone.body).toMatchObject({ state: 'ended', ended: { cause: 'deleted' } })
  expect((await control.call('GET', '/v1/sandboxes')).body['sandboxes']).toHaveLength(0)
  expect((await control.call('GET', '/v1/sandboxes?state=ended')).body['sandboxes']).toHaveLength(1)
  const never = await control.call('GET', '/v1/sandboxes/sbx_aaaaaaaaaaaaaaaaaaaa')
  expect([never.status, never.body['code']]).toEqual([404, 'not_found'])
  const extended = await control.call('POST', `/v1/sandboxes/${id}/extend`, { timeoutMs: 1_000 })
  expect([extended.status, extended.body['code']]).toEqual([410, 'sandbox_ended'])
  expect(extended.body['message']).toContain('deleted')
  expect(errors).toEqual([])
})

it('learns of ends that the node decides, without being asked', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const { id } = (await control.call('POST', '/v1/sandboxes', {})).body
  const response = await control.raw('GET', `/v1/sandboxes/${id}/events?follow=1`)
  node.end(id, 'out_of_memory', null, 'the kernel ended it')
  // The stream ends by itself once the sandbox has: its text is the whole log.
  const events = (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(events.map((event) => event.seq)).toEqual(events.map((_, index) => index + 1))
  expect(events.at(-1)).toMatchObject({ type: 'state.ended', data: { ended: { cause: 'out_of_memory' } } })
  const listed = await control.call('GET', '/v1/sandboxes?state=ended')
  expect(listed.body['sandboxes'][0].ended.cause).toBe('out_of_memory')
})

it('pages with a cursor and misses none', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const made: string[] = []
  for (let i = 0; i < 5; i++) made.push((await control.call('POST', '/v1/sandboxes', {})).body['id'])
  const seen: string[] = []
  let cursor = ''
  do {
    const page = await control.call('GET', `/v1/sandboxes?limit=2${cursor}`)
    for (const sandbox of page.body['sandboxes']) seen.push(sandbox.id)
    cursor = page.body['nextCursor'] === null ? '' : `&cursor=${page.body['nextCursor']}`
  } while (cursor !== '')
  expect(seen.toSorted()).toEqual(made.toSorted())
})

it('never shortens a deadline, also when two extend at once', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const made = (await control.call('POST', '/v1/sandboxes', { timeoutMs: 60_000 })).body
  const path = `/v1/sandboxes/${made['id']}/extend`
  const answers = await Promise.all(
    [500_000, 2_000, 100_000].map((timeoutMs) => control.call('POST', path, { timeoutMs })),
  )
  const after = (await control.call('GET', `/v1/sandboxes/${made['id']}`)).body['expiresAtMs']
  expect(after).toBe(Math.max(...answers.map((answer) => answer.body['expiresAtMs'])))
  expect(after - made['createdAtMs']).toBeGreaterThanOrEqual(500_000)
  const idle = { afterMs: 5_000, action: 'stop' }
  const leased = await control.call('POST', `/v1/sandboxes/${made['id']}/lease`, { idle })
  expect(leased.body['idle']).toEqual(idle)
})

it('stops, starts, explains and holds', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const { id } = (await control.call('POST', '/v1/sandboxes', {})).body
  expect((await control.call('POST', `/v1/sandboxes/${id}/stop`)).body['state']).toBe('stopped')
  expect((await control.call('POST', `/v1/sandboxes/${id}/start`)).body['state']).toBe('running')
  expect((await control.call('GET', `/v1/sandboxes/${id}/lifecycle`)).body['state']).toBe('running')
  const held = await control.call('PUT', `/v1/sandboxes/${id}/holders/me`, { ttlMs: 5_000 })
  expect([held.status, held.body['name']]).toEqual([200, 'me'])
  expect((await control.call('DELETE', `/v1/sandboxes/${id}/holders/me`)).status).toBe(200)
})

it('records a failed creation as ended, frees the quota, and says why', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const { AtollError } = await import('@atoll/protocol')
  node.setBeforeCreate(() => Promise.reject(new AtollError('overloaded', 'the node is full')))
  const made = await control.call('POST', '/v1/sandboxes', {})
  expect([made.status, made.body['code']]).toEqual([503, 'overloaded'])
  const ended = await control.call('GET', '/v1/sandboxes?state=ended')
  expect(ended.body['sandboxes'][0].ended).toMatchObject({ cause: 'create_failed' })
  expect(ended.body['sandboxes'][0].ended.message).toContain('the node is full')
})

it('refuses a runtime that the node cannot provide, with the remedy', async () => {
  await using control = await startControl(fakeNode().api)
  const made = await control.call('POST', '/v1/sandboxes', { runtime: 'gvisor' })
  expect(made.body).toMatchObject({ code: 'runtime_unavailable', remedy: 'install it' })
})

it('answers a deletion in the middle of a creation, and leaves nothing', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const { promise: open, resolve } = Promise.withResolvers<void>()
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<string>()
  node.setBeforeCreate((spec) => {
    arrive(spec.id)
    return open
  })
  const making = control.call('POST', '/v1/sandboxes', {})
  const id = await arrived
  const gone = await control.call('DELETE', `/v1/sandboxes/${id}`)
  expect(gone.body['sandbox'].state).toBe('ended')
  resolve()
  expect((await making).body['code']).toBe('sandbox_ended')
  expect(await node.api.get(id)).toMatchObject({ state: 'ended' })
})
