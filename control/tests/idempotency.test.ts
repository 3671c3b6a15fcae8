import { AtollError } from '@atoll/protocol'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { startControl } from './start-control.ts'

it('makes one sandbox of many calls with one key, at once and later', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const headers = { 'idempotency-key': 'k1' }
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => control.call('POST', '/v1/sandboxes', {}, headers)),
  )
  expect(new Set(answers.map((answer) => answer.body['id'])).size).toBe(1)
  expect(answers.map((answer) => answer.status)).toEqual(Array(8).fill(201))
  expect(node.calls.filter((call) => call.startsWith('create'))).toHaveLength(1)
  const other = await control.call('POST', '/v1/sandboxes', { name: 'other' }, headers)
  expect([other.status, other.body['code']]).toEqual([409, 'idempotency_conflict'])
  const elsewhere = await control.call('POST', '/v1/keys', { name: 'x', scopes: ['admin'] }, headers)
  expect(elsewhere.body['code']).toBe('idempotency_conflict')
})

it('lets a retry be a new try after a failure that may pass', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const headers = { 'idempotency-key': 'k2' }
  node.setBeforeCreate(() => Promise.reject(new AtollError('overloaded', 'full')))
  expect((await control.call('POST', '/v1/sandboxes', {}, headers)).status).toBe(503)
  node.setBeforeCreate(() => Promise.resolve())
  expect((await control.call('POST', '/v1/sandboxes', {}, headers)).status).toBe(201)
})

it('repeats a new key to who made it, and keeps its secret from the disk', async () => {
  await using control = await startControl(fakeNode().api)
  const headers = { 'idempotency-key': 'k3' }
  const input = { name: 'x', scopes: ['sandboxes:read'] }
  const made = await control.call('POST', '/v1/keys', input, headers)
  const again = await control.call('POST', '/v1/keys', input, headers)
  expect(again.body).toEqual(made.body)
  const other = await control.call('POST', '/v1/keys', { name: 'y', scopes: ['admin'] })
  const stranger = await control.call('POST', '/v1/keys', input, {
    ...headers,
    authorization: `Bearer ${other.body['secret']}`,
  })
  expect(stranger.body['code']).toBe('idempotency_conflict')
  await control.stop()
  for (const name of ['atoll.db', 'atoll.db-wal']) {
    const bytes = await readFile(join(control.dataFolder, name)).catch(() => Buffer.alloc(0))
    expect(bytes.includes(made.body['secret'].slice(27))).toBe(false)
  }
})
