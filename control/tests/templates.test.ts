import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { startControl } from './start-control.ts'

const source = { type: 'template', name: 'base' }

const linesOf = async (response: Response) =>
  (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

it('builds a template, follows its log, uses and deletes it', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const build = await control.call('POST', '/v1/templates/builds', { name: 'mine', source })
  expect([build.status, build.body['state']]).toEqual([202, 'running'])
  const path = `/v1/templates/builds/${build.body['id']}`
  const log = await linesOf(await control.raw('GET', `${path}/log?follow=1`))
  expect(log.map((entry) => entry.step)).toEqual([1, 2, 3])
  expect(await linesOf(await control.raw('GET', `${path}/log?after=2`))).toHaveLength(1)
  const done = (await control.call('GET', path)).body
  expect(done).toMatchObject({ state: 'succeeded', error: null })
  const made = await control.call('POST', '/v1/sandboxes', { template: 'mine' })
  expect(made.body).toMatchObject({ template: 'mine', user: 'root' })
  const held = await control.call('DELETE', '/v1/templates/mine')
  expect([held.status, held.body['code']]).toEqual([409, 'in_use'])
  await control.call('DELETE', `/v1/sandboxes/${made.body['id']}`)
  const gone = await control.call('DELETE', `/v1/templates/${done['template']}`)
  expect(gone.body).toEqual({ id: done['template'], imageDeleted: true })
  expect((await control.call('POST', '/v1/sandboxes', { template: 'mine' })).body['code']).toBe('not_found')
})

it('cancels a build, which then has ended', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const steps = [{ type: 'run', shell: 'sleep 1000' }]
  const { id } = (await control.call('POST', '/v1/templates/builds', { name: 'slow', source, steps })).body
  const canceled = await control.call('DELETE', `/v1/templates/builds/${id}`)
  expect([canceled.status, canceled.body['state']]).toEqual([200, 'canceled'])
  expect((await control.call('DELETE', `/v1/templates/builds/${id}`)).body).toEqual(canceled.body)
})

it('bounds builds at once, and fails those that a stop cut off', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api)
  const steps = [{ type: 'run', shell: 'sleep 1000' }]
  const input = { name: 'slow', source, steps }
  const first = await control.call('POST', '/v1/templates/builds', input)
  await control.call('POST', '/v1/templates/builds', input)
  const third = await control.call('POST', '/v1/templates/builds', input)
  expect([third.status, third.body['code']]).toEqual([503, 'overloaded'])
  const { dataFolder, key } = control
  await control.stop()
  await using next = await startControl(node.api, { dataFolder, key })
  const after = (await next.call('GET', `/v1/templates/builds/${first.body['id']}`)).body
  expect(after).toMatchObject({ state: 'failed', error: { code: 'build_failed' } })
})

it('passes an upload through, and bounds it', async () => {
  const node = fakeNode()
  await using control = await startControl(node.api, { limits: { uploadBytes: 2_000_000 } })
  const upload = async (bytes: Buffer) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const response = await control.raw('PUT', `/v1/templates/uploads/${sha256}`, {
      body: new Uint8Array(bytes),
    })
    return JSON.parse(await response.text())
  }
  expect(await upload(Buffer.alloc(1_500_000))).toMatchObject({ sizeBytes: 1_500_000 })
  expect(await upload(Buffer.alloc(2_500_000))).toMatchObject({ code: 'payload_too_large' })
})

it('refuses a body that is over its limit, announced or not', async () => {
  await using control = await startControl(fakeNode().api)
  const big = JSON.stringify({ name: 'x'.repeat(2 ** 20) })
  const announced = await control.raw('POST', '/v1/sandboxes', { body: big })
  expect(JSON.parse(await announced.text()).code).toBe('payload_too_large')
  const chunked = { body: new Blob([big]).stream(), duplex: 'half' }
  const unannounced = await control.raw('POST', '/v1/sandboxes', chunked)
  expect(JSON.parse(await unannounced.text()).code).toBe('payload_too_large')
  const small = () => ({ body: new Blob(['{}']).stream(), duplex: 'half' })
  const untyped = await control.raw('POST', '/v1/sandboxes', small())
  expect(JSON.parse(await untyped.text())).toMatchObject({ code: 'invalid_request' })
  const headers = { 'content-type': 'application/json' }
  expect((await control.raw('POST', '/v1/sandboxes', { ...small(), headers })).status).toBe(201)
})
