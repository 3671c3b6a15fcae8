import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, expectStatus, getSandbox, run } from '../call.ts'
import { type Drill, small, startDrill } from '../drill.ts'
import { heldInMemory, holdInMemory } from './held-in-memory.ts'
import { losePower } from './lose-the-host.ts'
import { orphans } from './orphans.ts'

const gvisor = { runtime: 'gvisor', limits: small }

/** Not simulated: pids that are used again by others, and a disk that lost what was not synced. */
describe('what rests on gvisor', () => {
  let drill: Drill
  const folder = mkdtempSync('/tmp/atoll-boot-')
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(async () => {
    await drill?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })
  const change = async (id: string, verb: string, body: object = {}): Promise<Sandbox> =>
    expectStatus(
      await call<Sandbox>(drill.stack, 'POST', `/v1/sandboxes/${id}/${verb}`, { body }),
      [200],
      verb,
    )

  it('survives a reboot stored and stopped, and ends frozen as host_lost', async () => {
    const { stack } = drill
    const [stored, stopped, frozen] = [
      await createSandbox(stack, gvisor),
      await createSandbox(stack, gvisor),
      await createSandbox(stack, gvisor),
    ]
    const held = await holdInMemory(stack, stored.id)
    for (const { id } of [stored, stopped, frozen])
      await run(stack, id, ['sh', '-c', 'echo kept > /home/user/kept'])
    expect(await change(stored.id, 'pause')).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(await change(stopped.id, 'stop')).toMatchObject({ state: 'stopped' })
    expect(await change(frozen.id, 'pause', { depth: 'frozen' })).toMatchObject({ depth: 'frozen' })

    await losePower(stack)
    const bootId = join(folder, 'boot-id')
    writeFileSync(bootId, `${randomUUID()}\n`)
    const bind = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    await stack.restart({ through: ['unshare', '--mount', 'sh', '-c', bind, bootId] })
    expect(await getSandbox(stack, stored.id)).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(await getSandbox(stack, stopped.id)).toMatchObject({ state: 'stopped' })
    expect(await getSandbox(stack, frozen.id)).toMatchObject({
      state: 'ended',
      ended: { cause: 'host_lost' },
    })

    // A host whose /proc is covered can start no sandbox: the rest is asked on the plain host again.
    await stack.stop()
    await stack.restart()
    const back = await change(stored.id, 'resume')
    expect(back).toMatchObject({ state: 'running', generation: stored.generation + 1 })
    expect(await heldInMemory(stack, stored.id)).toBe(held)
    await change(stopped.id, 'start')
    for (const { id } of [stored, stopped])
      expect((await run(stack, id, ['cat', '/home/user/kept'])).stdout).toBe('kept\n')
    const refused = await call(stack, 'POST', `/v1/sandboxes/${frozen.id}/resume`)
    expect(refused).toMatchObject({ status: 410, body: { code: 'sandbox_ended' } })
    expect(await orphans(stack)).toEqual([])
  }, 180_000)

  it.each(['crash', 'stop'] as const)('stays frozen over a %s of the daemon', async (how) => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, gvisor)
    const held = await holdInMemory(stack, sandbox.id)
    await change(sandbox.id, 'pause', { depth: 'frozen' })
    await stack[how]()
    await stack.restart()
    expect(await getSandbox(stack, sandbox.id)).toMatchObject({ state: 'paused', depth: 'frozen' })
    // And a call wakes it: the same memory, the same generation.
    expect(await heldInMemory(stack, sandbox.id)).toBe(held)
    expect(await getSandbox(stack, sandbox.id)).toMatchObject({
      state: 'running',
      depth: null,
      generation: sandbox.generation,
    })
    expect(await orphans(stack)).toEqual([])
  })
})
