import { randomUUID } from 'node:crypto'
import type { ErrorBody, Lifecycle, Sandbox, SandboxEvent } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, deleteSandbox, expectStatus, getSandbox, run, untilState } from './call.ts'
import { type Drill, small, startDrill } from './drill.ts'
import { eventsOf } from './counted-output.ts'

/** Leases as a client meets them: times are short here, the machinery is the real one. */
describe('the lease of a sandbox', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const create = (more: object) => createSandbox(drill.stack, { runtime: 'gvisor', limits: small, ...more })
  const lifecycle = async (id: string): Promise<Lifecycle> =>
    expectStatus(
      await call<Lifecycle>(drill.stack, 'GET', `/v1/sandboxes/${id}/lifecycle`),
      [200],
      'lifecycle',
    )

  it('ends it at its timeout, says why for ever after, and not before', async () => {
    const { stack } = drill
    const sandbox = await create({ timeoutMs: 3_000 })
    expect(sandbox.expiresAtMs).toBeGreaterThanOrEqual(sandbox.createdAtMs + 3_000)
    const explained = await lifecycle(sandbox.id)
    expect(explained.next[0]).toMatchObject({ action: 'delete', atMs: sandbox.expiresAtMs })
    expect(explained.next[0]?.because).toMatch(/time|deadline/i)
    expect(explained.explanation).toContain(explained.next[0]!.because)
    const { ended } = await untilState(stack, sandbox.id, 'ended')
    expect(ended).toMatchObject({ cause: 'deadline' })
    expect(ended!.atMs).toBeGreaterThanOrEqual(sandbox.expiresAtMs)
    expect(ended!.atMs).toBeLessThan(sandbox.expiresAtMs + 5_000)
    expect(ended!.receipt?.processes).toBeGreaterThan(0)
    const refused = await call<ErrorBody>(
      stack,
      'GET',
      `/v1/sandboxes/${sandbox.id}/files?path=/etc/hostname`,
    )
    expect(refused).toMatchObject({ status: 410, body: { code: 'sandbox_ended', retryable: false } })
    expect(refused.body.message).toContain('deadline')
    expect(await drill.difference()).toEqual({})
  })

  it('is extended and never silently shortened', async () => {
    const { stack } = drill
    const sandbox = await create({ timeoutMs: 4_000 })
    const extend = async (timeoutMs: number) =>
      expectStatus(
        await call<Sandbox>(stack, 'POST', `/v1/sandboxes/${sandbox.id}/extend`, { body: { timeoutMs } }),
        [200],
        'extend',
      )
    const longer = await extend(60_000)
    expect(longer.expiresAtMs).toBeGreaterThan(sandbox.expiresAtMs + 50_000)
    expect((await extend(1_000)).expiresAtMs).toBe(longer.expiresAtMs)
    await new Promise((resolve) => setTimeout(resolve, sandbox.expiresAtMs + 1_000 - Date.now()))
    expect((await run(stack, sandbox.id, ['echo', 'on'])).stdout).toBe('on\n')
    await deleteSandbox(stack, sandbox.id)
  })

  it('ends it when nobody holds it; looking at it is no holding', async () => {
    const { stack } = drill
    const sandbox = await create({ idle: { afterMs: 2_000, action: 'delete' } })
    const explained = await lifecycle(sandbox.id)
    expect(explained.idleSinceMs).not.toBeNull()
    expect(explained.explanation).toMatch(/idle|held|holds/i)
    // getSandbox and lifecycle are asked all the time here: passive traffic must not keep it alive.
    const { ended } = await untilState(stack, sandbox.id, 'ended', 10_000)
    expect(ended).toMatchObject({ cause: 'idle' })
  })

  it('is held by a running process, by a client hold and by a stream, and each is visible', async () => {
    const { stack } = drill
    const base = await create({ idle: { afterMs: 1_500, action: 'delete' } })
    const path = `/v1/sandboxes/${base.id}`
    await call(stack, 'POST', `${path}/processes`, { body: { id: 'worker', argv: ['sleep', '4'] } })
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    const held = await lifecycle(base.id)
    expect(held.state).toBe('running')
    expect(held.idleSinceMs).toBeNull()
    expect(held.holders).toContainEqual(expect.objectContaining({ kind: 'process' }))
    expectStatus(
      await call(stack, 'PUT', `${path}/holders/me`, { body: { ttlMs: 4_000 } }),
      [200, 201],
      'hold',
    )
    await new Promise((resolve) => setTimeout(resolve, 3_000))
    const leased = await lifecycle(base.id)
    expect(leased.holders).toEqual([expect.objectContaining({ kind: 'lease', name: 'me' })])
    // The hold's own time runs out: a dead client holds nothing.
    const { ended } = await untilState(stack, base.id, 'ended', 10_000)
    expect(ended).toMatchObject({ cause: 'idle' })
  })

  it('gives the quota back at each end, once', async () => {
    const { stack } = drill
    const project = expectStatus(
      await call<{ id: string }>(stack, 'POST', '/v1/projects', {
        body: { name: `drill-${randomUUID()}`, quota: { sandboxes: 1, cpuMillis: 1_000, memoryMib: 256 } },
      }),
      [200, 201],
      'make a project',
    )
    const key = expectStatus(
      await call<{ secret: string }>(stack, 'POST', '/v1/keys', {
        body: { name: 'drill', project: project.id, scopes: ['sandboxes:read', 'sandboxes:write'] },
      }),
      [200, 201],
      'make a key',
    )
    const tenant = { ...stack, apiKey: key.secret, url: stack.url }
    const body = { runtime: 'gvisor', limits: small, timeoutMs: 3_000 }
    const first = await createSandbox(tenant, body)
    const refused = await call(tenant, 'POST', '/v1/sandboxes', { body })
    expect(refused).toMatchObject({ status: 429, body: { code: 'quota_exceeded' } })
    expect(await call(stack, 'GET', `/v1/sandboxes/${first.id}`)).toMatchObject({
      status: expect.any(Number),
    })
    await untilState(tenant, first.id, 'ended')
    const second = await createSandbox(tenant, body)
    await deleteSandbox(tenant, second.id)
    await deleteSandbox(tenant, second.id)
    const third = await createSandbox(tenant, body)
    expect(await call(tenant, 'POST', '/v1/sandboxes', { body })).toMatchObject({ status: 429 })
    await deleteSandbox(tenant, third.id)
  })

  it('is told as ordered events with a cursor', async () => {
    const { stack } = drill
    const sandbox = await create({})
    await deleteSandbox(stack, sandbox.id)
    const answer = await fetch(`${stack.url}/v1/sandboxes/${sandbox.id}/events`, {
      headers: { authorization: `Bearer ${stack.apiKey}`, accept: 'application/x-ndjson' },
    })
    expect(answer.status).toBe(200)
    const events: SandboxEvent[] = []
    for await (const event of eventsOf(answer)) events.push(event as unknown as SandboxEvent)
    const numbers = events.map(({ seq }) => seq)
    expect(numbers).toEqual([...numbers].sort((left, right) => left - right))
    expect(new Set(numbers).size).toBe(numbers.length)
    expect(events.length).toBeGreaterThan(1)
    expect(events.at(-1)?.type).toMatch(/ended|deleted/)
    expect(await getSandbox(stack, sandbox.id)).toMatchObject({ state: 'ended', ended: { cause: 'deleted' } })
  })
})
