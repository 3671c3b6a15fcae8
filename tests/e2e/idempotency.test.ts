import { randomUUID } from 'node:crypto'
import type { ErrorBody, RunResult, Sandbox } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, deleteSandbox, expectStatus, getSandbox, run } from './call.ts'
import { allSandboxes, type Drill, livingSandboxes, small, startDrill } from './drill.ts'

/** Invariant 13: a client key makes it happen once; the same key with other parameters is a conflict. */
describe('a retry with the same key', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const create = (body: object, idempotencyKey: string) =>
    call<Sandbox & ErrorBody>(drill.stack, 'POST', '/v1/sandboxes', { body, idempotencyKey })

  it('creates once: in turn, at once, and over a restart of the daemon', async () => {
    const { stack } = drill
    const known = await allSandboxes(stack)
    const key = randomUUID()
    const body = { runtime: 'gvisor', limits: small, name: 'once' }
    // Four at once: the first one under way, the others wait for its answer.
    const answers = await Promise.all(Array.from({ length: 4 }, () => create(body, key)))
    const ids = new Set(answers.map((answer) => expectStatus(answer, [200, 201], 'create').id))
    expect(ids.size).toBe(1)
    const [id] = ids
    expect((await create(body, key)).body.id).toBe(id)
    await stack.crash()
    await stack.restart()
    const after = await create(body, key)
    expect(after.body).toEqual(answers[0]?.body)
    expect((await allSandboxes(stack)).filter((other) => !known.includes(other))).toEqual([id])

    const other = await create({ ...body, name: 'other' }, key)
    expect(other).toMatchObject({ status: 409, body: { code: 'idempotency_conflict', retryable: false } })
    expect(await livingSandboxes(stack)).toEqual([id])
    await deleteSandbox(stack, id!)
    // Deleted is not forgotten: the key does not raise it from the dead.
    expect((await create(body, key)).body.id).toBe(id)
    expect(await livingSandboxes(stack)).toEqual([])
  })

  it('runs a command once, by process id and by key, also over a restart', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const path = `/v1/sandboxes/${sandbox.id}/processes?wait=1`
    const runs = async () =>
      (await run(stack, sandbox.id, ['sh', '-c', 'cat runs | wc -l'], { cwd: '/tmp' })).stdout.trim()
    const byId = { id: 'mine', shell: 'echo x >> /tmp/runs; exit 3' }
    const first = await call<RunResult>(stack, 'POST', path, { body: byId })
    expect(first).toMatchObject({ status: 200, body: { exit: { code: 3 } } })
    expect(await call(stack, 'POST', path, { body: byId })).toMatchObject({ body: { exit: { code: 3 } } })
    const conflict = await call(stack, 'POST', path, { body: { ...byId, shell: 'exit 4' } })
    expect(conflict).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await runs()).toBe('1')

    const idempotencyKey = randomUUID()
    const byKey = { shell: 'echo x >> /tmp/runs; exit 5' }
    const answers = await Promise.all(
      [1, 2, 3].map(() => call<RunResult>(stack, 'POST', path, { body: byKey, idempotencyKey })),
    )
    for (const answer of answers) expect(answer).toMatchObject({ status: 200, body: { exit: { code: 5 } } })
    await stack.crash()
    await stack.restart()
    expect(await call(stack, 'POST', path, { body: byKey, idempotencyKey })).toMatchObject({
      body: { exit: { code: 5 }, process: { id: answers[0]!.body.process.id } },
    })
    expect(await runs()).toBe('2')
    const other = await call(stack, 'POST', path, { body: { shell: 'exit 6' }, idempotencyKey })
    expect(other.status).toBe(409)
    await deleteSandbox(stack, sandbox.id)
  })

  it('deletes once: the second answer is the first one, also by two at once', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const receipts = await Promise.all([1, 2, 3].map(() => deleteSandbox(stack, sandbox.id)))
    expect(receipts[0]!.processes).toBeGreaterThan(0)
    for (const receipt of receipts) expect(receipt).toEqual(receipts[0])
    await stack.crash()
    await stack.restart()
    expect(await deleteSandbox(stack, sandbox.id)).toEqual(receipts[0])
    expect((await getSandbox(stack, sandbox.id)).ended).toMatchObject({
      cause: 'deleted',
      receipt: receipts[0],
    })
    expect(await drill.difference()).toEqual({})
  })

  it('tells what never was from what has ended', async () => {
    const { stack } = drill
    const never = `sbx_${'a'.repeat(20)}`
    expect(await call(stack, 'GET', `/v1/sandboxes/${never}`)).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    expect(await call(stack, 'DELETE', `/v1/sandboxes/${never}`)).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
  })
})
