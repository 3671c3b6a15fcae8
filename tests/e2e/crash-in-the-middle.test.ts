import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Process, Sandbox } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, deleteSandbox, expectStatus, getSandbox, run, until } from './call.ts'
import { allSandboxes, type Drill, livingSandboxes, small, startDrill } from './drill.ts'
import { launchersOf } from './machine-parts.ts'

/** Kills the daemon between the intent and the effect, and between the effect and the answer. */
describe('kill -9 of the daemon in the middle of', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterAll(() => drill?.[Symbol.asyncDispose]())
  afterEach(async () => {
    for (const id of await livingSandboxes(drill.stack)) await deleteSandbox(drill.stack, id)
    expect(await drill.difference()).toEqual({})
  })

  /** Ms after the request was sent: before the launcher, with it, while the guest adopts, about the answer. */
  it.each([5, 40, 120, 250])(
    'create, %i ms in: a retry with the same key makes one sandbox',
    async (afterMs) => {
      const { stack } = drill
      const known = new Set(await allSandboxes(stack))
      const idempotencyKey = randomUUID()
      const body = { runtime: 'gvisor', limits: small, name: `crash-${afterMs}` }
      const first = call<Sandbox>(stack, 'POST', '/v1/sandboxes', { body, idempotencyKey }).catch(
        () => undefined,
      )
      await delay(afterMs)
      await stack.crash()
      await first
      await stack.restart()
      const again = expectStatus(
        await call<Sandbox>(stack, 'POST', '/v1/sandboxes', { body, idempotencyKey }),
        [200, 201],
        'create again with the same key',
      )
      // One that lives; what the first try left half-way, if anything, is a tombstone that says so.
      const fresh = (await allSandboxes(stack)).filter((id) => !known.has(id))
      const living = (await livingSandboxes(stack)).filter((id) => !known.has(id))
      expect(living).toEqual([again.id])
      for (const id of fresh.filter((other) => other !== again.id))
        expect((await getSandbox(stack, id)).ended).toMatchObject({ cause: 'create_failed' })
      expect((await run(stack, again.id, ['echo', 'alive'])).stdout).toBe('alive\n')
    },
  )

  it('a launch: the launcher goes on alone, and nothing stays that nobody owns', async () => {
    const { stack } = drill
    const first = call(stack, 'POST', '/v1/sandboxes', { body: { runtime: 'gvisor', limits: small } }).catch(
      () => undefined,
    )
    await until('the launcher runs', 10_000, () => launchersOf(stack)[0])
    await stack.crash()
    await first
    await stack.restart()
    for (const id of await livingSandboxes(stack)) {
      const { state, ended } = await getSandbox(stack, id)
      if (state === 'ended') expect(ended).not.toBeNull()
      else expect((await run(stack, id, ['echo', 'alive'])).stdout).toBe('alive\n')
    }
  })

  it('exec: a retry with the same process id attaches, the command ran once', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const path = `/v1/sandboxes/${sandbox.id}/processes?wait=1`
    const body = { id: 'once', shell: 'echo ran >> /home/user/runs; sleep 2; cat /home/user/runs; exit 9' }
    const first = call(stack, 'POST', path, { body }).catch(() => undefined)
    await until('it runs', 10_000, async () => {
      const seen = await call<Process>(stack, 'GET', `/v1/sandboxes/${sandbox.id}/processes/once`)
      return seen.status === 200 ? true : undefined
    })
    await stack.crash()
    await first
    await stack.restart()
    const again = expectStatus(
      await call<{ stdout: string; exit: { code: number } }>(stack, 'POST', path, { body }),
      [200],
      'retry the run',
    )
    expect(again).toMatchObject({ stdout: 'ran\n', exit: { code: 9 } })
  })

  it('write: the old file is whole', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    await run(stack, sandbox.id, ['sh', '-c', 'echo old > /home/user/file'])
    let sentBytes = 0
    const endless = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        controller.enqueue(new Uint8Array(256 * 1024))
        sentBytes += 256 * 1024
        await delay(5)
      },
    })
    const upload = fetch(`${stack.url}/v1/sandboxes/${sandbox.id}/files?path=/home/user/file`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${stack.apiKey}` },
      body: endless,
      // @ts-expect-error The DOM's types do not know it; a streamed body needs it.
      duplex: 'half',
    }).then(
      (answer) => answer.status,
      () => 'broken',
    )
    await until('some MiB are sent', 10_000, () => (sentBytes > 8 * 1024 ** 2 ? true : undefined))
    await stack.crash()
    expect(await upload).toBe('broken')
    await stack.restart()
    const left = await run(stack, sandbox.id, ['sh', '-c', 'cat file; ls -A /home/user | wc -l; cd; ls -A'], {
      cwd: '/home/user',
    })
    expect(left.stdout.split('\n')[0]).toBe('old')
    expect(left.stdout).not.toMatch(/tmp|partial|upload/)
  })

  it.each([0, 2, 8])('delete, %i ms in: deleting again ends it with a receipt', async (afterMs) => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const first = call(stack, 'DELETE', `/v1/sandboxes/${sandbox.id}`).catch(() => undefined)
    await delay(afterMs)
    await stack.crash()
    await first
    await stack.restart()
    const receipt = await deleteSandbox(stack, sandbox.id)
    expect(receipt.durationMs).toBeGreaterThanOrEqual(0)
    const { state, ended } = await getSandbox(stack, sandbox.id)
    expect({ state, cause: ended?.cause }).toEqual({ state: 'ended', cause: 'deleted' })
    expect(await deleteSandbox(stack, sandbox.id)).toEqual(receipt)
  })
})
