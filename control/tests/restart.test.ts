import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { startControl } from './start-control.ts'

it('takes over after a restart: what runs, what ended meanwhile, what is lost, what never began', async () => {
  const node = fakeNode()
  await using first = await startControl(node.api)
  const make = async (): Promise<string> => (await first.call('POST', '/v1/sandboxes', {})).body['id']
  const [runs, ended, lost, never] = [await make(), await make(), await make(), await make()]
  const { dataFolder, key } = first
  await first.stop()
  node.end(ended, 'deadline', null, 'its time was up')
  node.forget(lost)
  node.forget(never)
  const database = new DatabaseSync(join(dataFolder, 'atoll.db'))
  database.prepare("update sandboxes set state = 'creating' where id = ?").run(never)
  database.close()

  await using second = await startControl(node.api, { dataFolder, key })
  expect(second.control.firstKey).toBeUndefined()
  const { sandboxes: alive } = (await second.call('GET', '/v1/sandboxes')).body
  expect(alive.map((sandbox: { id: string }) => sandbox.id)).toEqual([runs])
  const cause = async (id: string): Promise<string> =>
    (await second.call('GET', `/v1/sandboxes/${id}`)).body['ended'].cause
  expect([await cause(ended), await cause(lost), await cause(never)]).toEqual([
    'deadline',
    'host_lost',
    'create_failed',
  ])
  const log = await (await second.raw('GET', `/v1/sandboxes/${ended}/events`)).text()
  expect(log.match(/node\.ended/g)).toHaveLength(1)
})

it('answers a repeated creation after a crash in the middle with the same sandbox', async () => {
  const node = fakeNode()
  await using first = await startControl(node.api)
  const { dataFolder, key } = first
  const headers = { 'idempotency-key': 'once' }
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<string>()
  // The node makes it and the answer never comes: control is gone before.
  node.setBeforeCreate(async (spec) => {
    node.setBeforeCreate(() => Promise.resolve())
    await node.api.create(spec)
    arrive(spec.id)
    await new Promise(() => {})
  })
  void first.call('POST', '/v1/sandboxes', { name: 'n' }, headers).catch(() => {})
  const id = await arrived
  await first.stop()

  await using second = await startControl(node.api, { dataFolder, key })
  const again = await second.call('POST', '/v1/sandboxes', { name: 'n' }, headers)
  expect([again.status, again.body['id'], again.body['state']]).toEqual([201, id, 'running'])
  expect((await second.call('GET', '/v1/sandboxes')).body['sandboxes']).toHaveLength(1)
  const third = await second.call('POST', '/v1/sandboxes', { name: 'n' }, headers)
  expect(third.headers.get('idempotency-replayed')).toBe('true')
  expect(third.body['id']).toBe(id)
})
