import { AtollError } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { startControl } from './start-control.ts'

type Stack = Awaited<ReturnType<typeof startControl>>

const box = async (control: Stack, input: object = {}): Promise<string> =>
  (await control.call('POST', '/v1/sandboxes', input)).body['id']

const save = (control: Stack, sandbox: string, input: object = {}, headers = {}) =>
  control.call('POST', `/v1/sandboxes/${sandbox}/snapshots`, input, headers)

it('saves, lists, gets, creates from it, and deletes it', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const id = await box(control, { limits: { diskMib: 1_024, memoryMib: 256 }, user: 'root', workdir: '/srv' })
  const made = await save(control, id, { name: 'warm' })
  expect(made.status).toBe(201)
  expect(made.body).toMatchObject({
    name: 'warm',
    kind: 'memory',
    sandbox: id,
    parent: null,
    template: 'base',
  })
  expect(made.body).toMatchObject({ sizeBytes: 1_000, pausedMs: 12.5, limits: { diskMib: 1_024 } })
  const snapshot = made.body['id']
  expect((await control.call('GET', `/v1/snapshots/${snapshot}`)).body).toEqual(made.body)
  expect((await control.call('GET', '/v1/snapshots?name=warm')).body['snapshots']).toHaveLength(1)
  expect((await control.call('GET', '/v1/snapshots?name=cold')).body['snapshots']).toHaveLength(0)
  expect((await control.call('GET', `/v1/snapshots?sandbox=${id}`)).body['snapshots']).toHaveLength(1)

  const child = await control.call('POST', '/v1/sandboxes', { snapshot, limits: { memoryMib: 512 } })
  expect(child.body).toMatchObject({ state: 'running', snapshot, workdir: '/srv', template: 'base' })
  expect(child.body['limits']).toMatchObject({ diskMib: 1_024, memoryMib: 512 })
  expect((await save(control, child.body['id'])).body['parent']).toBe(snapshot)

  const gone = await control.call('DELETE', `/v1/snapshots/${snapshot}`)
  expect(gone.body).toEqual({ id: snapshot, freedBytes: 1_000 })
  expect((await control.call('DELETE', `/v1/snapshots/${snapshot}`)).status).toBe(404)
  const refused = await control.call('POST', '/v1/sandboxes', { snapshot })
  expect([refused.status, refused.body['code']]).toEqual([404, 'not_found'])
  const log = await (await control.raw('GET', `/v1/sandboxes/${id}/events`)).text()
  expect(log).toContain('act.snapshot')
  expect(log).toContain('act.delete_snapshot')
})

it('refuses what a snapshot fixes, and template and snapshot together', async () => {
  await using control = await startControl(fakeNode().api)
  const snapshot = (await save(control, await box(control))).body['id']
  for (const input of [{ template: 'base' }, { limits: { diskMib: 4_096 } }, { runtime: 'gvisor' }]) {
    const refused = await control.call('POST', '/v1/sandboxes', { snapshot, ...input })
    expect([refused.status, refused.body['code']]).toEqual([400, 'invalid_request'])
    expect(refused.body['message']).toContain(snapshot)
  }
})

it('keeps a name for one snapshot of a project', async () => {
  await using control = await startControl(fakeNode().api)
  const id = await box(control)
  const first = (await save(control, id, { name: 'n' })).body['id']
  const second = await save(control, id, { name: 'n' })
  expect([second.status, second.body['code'], second.body['details']?.snapshot]).toEqual([
    409,
    'conflict',
    first,
  ])
  await control.call('DELETE', `/v1/snapshots/${first}`)
  expect((await save(control, id, { name: 'n' })).status).toBe(201)
})

it("does not tell of another project's snapshots", async () => {
  await using control = await startControl(fakeNode().api)
  const snapshot = (await save(control, await box(control))).body['id']
  const project = (await control.call('POST', '/v1/projects', { name: 'other' })).body['id']
  const key = await control.call('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:write'], project })
  const headers = { authorization: `Bearer ${key.body['secret']}` }
  expect((await control.call('GET', `/v1/snapshots/${snapshot}`, undefined, headers)).status).toBe(404)
  expect((await control.call('DELETE', `/v1/snapshots/${snapshot}`, undefined, headers)).status).toBe(404)
  expect((await control.call('POST', '/v1/sandboxes', { snapshot }, headers)).status).toBe(404)
  expect((await control.call('GET', '/v1/snapshots', undefined, headers)).body['snapshots']).toEqual([])
  const invisible = await control.call('GET', `/v1/snapshots?project=x`, undefined, headers)
  expect(invisible.status).toBe(404)
})

it('makes one snapshot of one key, and keeps no record of a failed one', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const id = await box(control)
  const snapshot = node.api.snapshot.bind(node.api)
  node.api.snapshot = () => Promise.reject(new AtollError('host_disk_full', 'no room'))
  const headers = { 'idempotency-key': 's1' }
  expect((await save(control, id, { name: 'n' }, headers)).body['code']).toBe('host_disk_full')
  expect((await control.call('GET', '/v1/snapshots')).body['snapshots']).toEqual([])
  node.api.snapshot = snapshot
  const made = await save(control, id, { name: 'n' }, headers)
  expect(made.status).toBe(201)
  expect((await save(control, id, { name: 'n' }, headers)).body).toEqual(made.body)
  expect(await node.api.snapshots()).toHaveLength(1)
})

it('settles with the node after a restart, both ways', async () => {
  const node = fakeNode()
  await using first = await startControl(node.api)
  const { dataFolder, key } = first
  const id = await box(first)
  const [lost, stays] = [(await save(first, id)).body['id'], (await save(first, id)).body['id']]
  const foreign = 'snp_aaaaaaaaaaaaaaaaaaaa'
  const snapshot = node.api.snapshot.bind(node.api)
  // Made by the node, and control gone before it heard of it.
  node.api.snapshot = async (...asked) => {
    await snapshot(...asked)
    return await new Promise(() => {})
  }
  void save(first, id, { name: 'halfway' }).catch(() => {})
  await expect.poll(async () => (await node.api.snapshots()).length).toBe(3)
  node.api.snapshot = snapshot
  await first.stop()
  await node.api.deleteSnapshot(lost)
  await node.api.snapshot(id, { id: foreign, kind: 'memory' }, 'nobody')

  await using second = await startControl(node.api, { dataFolder, key })
  const { snapshots } = (await second.call('GET', '/v1/snapshots')).body
  const ids = snapshots.map((one: { id: string }) => one.id)
  expect(ids).toHaveLength(3)
  expect(ids).toContain(stays)
  expect(ids).toContain(foreign)
  expect(snapshots.map((one: { name: string | null }) => one.name)).toContain('halfway')
  for (const call of [
    await second.call('GET', `/v1/snapshots/${lost}`),
    await second.call('POST', '/v1/sandboxes', { snapshot: lost }),
  ])
    expect([call.status, call.body['code']]).toEqual([422, 'snapshot_invalid'])
  expect((await second.call('DELETE', `/v1/snapshots/${lost}`)).body['freedBytes']).toBe(0)
})

it('keeps a template as long as a snapshot stands on its image', async () => {
  await using control = await startControl(fakeNode().api)
  const id = await box(control)
  const snapshot = (await save(control, id)).body['id']
  await control.call('DELETE', `/v1/sandboxes/${id}`)
  const refused = await control.call('DELETE', '/v1/templates/base')
  expect([refused.status, refused.body['code'], refused.body['details']?.snapshot]).toEqual([
    409,
    'in_use',
    snapshot,
  ])
})
