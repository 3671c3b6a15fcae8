import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ForkResult, Sandbox } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, getSandbox, until } from '../call.ts'
import { type Drill, livingSandboxes, small, startDrill } from '../drill.ts'
import { hostProcess, killExactly } from '../host-processes.ts'
import { askShim, machineParts } from '../machine-parts.ts'
import { heldInMemory, holdInMemory } from './held-in-memory.ts'
import { machineOf, nodeRecord } from './machine-of.ts'
import { orphans } from './orphans.ts'

const verbs = ['pause frozen', 'pause stored', 'resume frozen', 'resume stored', 'fork', 'snapshot'] as const
type Verb = (typeof verbs)[number]
/** Ms after the request was sent: at its door, among its steps, about its answer. */
const stagesMs = process.env['ATOLL_DRILL_FULL'] === '1' ? [3, 25, 60, 120, 250] : [3, 40, 150]
const cases = verbs.flatMap((verb) => stagesMs.map((afterMs) => ({ verb, afterMs })))

/** No write and no memory is lost, whatever is killed when; and nothing is left that nobody owns. */
describe('kill -9 in the middle, on gvisor', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(async () => {
    await drill.clean()
    expect(await orphans(drill.stack)).toEqual([])
  })
  afterAll(() => drill?.[Symbol.asyncDispose]())

  /** A sandbox that is ready for the verb, and what it holds. */
  const prepare = async (verb: Verb): Promise<{ id: string; held: string }> => {
    const { stack } = drill
    const { id } = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const held = await holdInMemory(stack, id)
    if (verb.startsWith('resume'))
      await call(stack, 'POST', `/v1/sandboxes/${id}/pause`, { body: { depth: verb.split(' ')[1] } })
    return { id, held }
  }

  const begin = (verb: Verb, id: string) => {
    const [act, depth] = verb.split(' ')
    const path = `/v1/sandboxes/${id}/${act === 'snapshot' ? 'snapshots' : act}`
    const body = act === 'pause' ? { depth } : act === 'fork' ? { count: 2 } : {}
    return call(drill.stack, 'POST', path, { body }).catch(() => undefined)
  }

  /** Whatever state it was left in, it is one that it can be woken from, with its memory. */
  const expectWhole = async (id: string, held: string): Promise<void> => {
    const { stack } = drill
    const { state } = await getSandbox(stack, id)
    expect(['running', 'paused', 'pausing', 'resuming']).toContain(state)
    expect(await heldInMemory(stack, id)).toBe(held)
    expect((await getSandbox(stack, id)).state).toBe('running')
  }

  /** Children and snapshots that are there are whole. */
  const expectWholeCopies = async (parent: string, held: string): Promise<void> => {
    const { stack } = drill
    for (const id of await livingSandboxes(stack))
      if (id !== parent) expect(await heldInMemory(stack, id)).toBe(held)
    const { body } = await call<{ snapshots: { id: string }[] }>(stack, 'GET', '/v1/snapshots')
    for (const { id } of body.snapshots) {
      const copy = await createSandbox(stack, { snapshot: id })
      expect(await heldInMemory(stack, copy.id)).toBe(held)
      expect((await call(stack, 'DELETE', `/v1/snapshots/${id}`)).status).toBe(200)
    }
  }

  it.each(cases)(
    'of the daemon, $afterMs ms into $verb',
    async ({ verb, afterMs }) => {
      const { stack } = drill
      const { id, held } = await prepare(verb)
      const first = begin(verb, id)
      await delay(afterMs)
      await stack.crash()
      await first
      await stack.restart()
      await expectWhole(id, held)
      await expectWholeCopies(id, held)
    },
    120_000,
  )

  it.each(cases.filter(({ verb }) => verb !== 'resume stored'))(
    'of the shim, $afterMs ms into $verb: its spare goes on',
    async ({ verb, afterMs }) => {
      const { stack } = drill
      const { id, held } = await prepare(verb)
      const { shim } = await machineParts(stack, machineOf(stack, id))
      const first = begin(verb, id)
      await delay(afterMs)
      killExactly(shim)
      await first
      await expectWhole(id, held)
      await expectWholeCopies(id, held)
    },
    120_000,
  )

  it.each(cases.filter(({ verb }) => verb !== 'resume stored'))(
    'of the runtime, $afterMs ms into $verb: ended as a fault, or whole on disk',
    async ({ verb, afterMs }) => {
      const { stack } = drill
      const { id, held } = await prepare(verb)
      const { runtime } = await machineParts(stack, machineOf(stack, id))
      const first = begin(verb, id)
      await delay(afterMs)
      const there = killExactly(runtime)
      const answer = await first
      const settled = await until('it is ended, or paused on disk', 20_000, async () => {
        const now = await getSandbox(stack, id)
        // A frozen process dies of a kill when it is thawed: until then it rests, and is called so.
        if (now.depth === 'frozen') await call(stack, 'POST', `/v1/sandboxes/${id}/resume`)
        return now.state === 'ended' || now.depth === 'stored' ? now : undefined
      })
      // A pause that was answered as durable is one; and what was killed is never called running.
      if (settled.state === 'ended') {
        expect(there).toBe(true)
        expect(settled.ended).toMatchObject({ cause: 'fault' })
        expect((answer?.body as Partial<Sandbox> | undefined)?.depth).not.toBe('stored')
      } else expect(await heldInMemory(stack, id)).toBe(held)
      await expectWholeCopies(id, held)
      const forked = answer?.body as Partial<ForkResult> | undefined
      for (const child of forked?.children ?? [])
        if (child.ok) expect((await getSandbox(stack, child.sandbox.id)).state).toBe('running')
    },
    120_000,
  )

  /** Kills the runtime of every machine of the stack but one: those of the pool, and those just made. */
  const killOtherRuntimes = async (spared: string | null): Promise<void> => {
    const folder = join(drill.stack.dataFolder, 'sandboxes')
    const others = readdirSync(folder).filter((machine) => machine !== spared)
    await Promise.all(
      others.map(async (machine) => {
        const status = await askShim(join(folder, machine), { do: 'status' }).catch(() => undefined)
        const runtime = hostProcess(Number(status?.['runtimePid'] ?? 0))
        if (runtime !== undefined) killExactly(runtime)
      }),
    )
  }

  it.each(cases.filter(({ verb }) => verb === 'resume stored' || verb === 'fork'))(
    'of the machines that are being made, $afterMs ms into $verb: the next try is as good as ever',
    async ({ verb, afterMs }) => {
      const { stack } = drill
      const { id, held } = await prepare(verb)
      const first = begin(verb, id)
      await delay(afterMs)
      await killOtherRuntimes(nodeRecord(stack, id)?.machineId ?? null)
      const answer = await first
      expect(answer).toBeDefined()
      const { state, ended } = await getSandbox(stack, id)
      // Only a resume that was through could have been hit as the sandbox's own machine.
      if (state === 'ended') expect([verb, ended?.cause]).toEqual(['resume stored', 'fault'])
      else
        await until('the next try brings it back', 20_000, async () =>
          (await heldInMemory(stack, id).catch(() => undefined)) === held ? true : undefined,
        )
      for (const child of (answer?.body as Partial<ForkResult>)?.children ?? [])
        if (!child.ok) expect((await getSandbox(stack, child.id)).ended?.cause).toBe('create_failed')
    },
    120_000,
  )
})
