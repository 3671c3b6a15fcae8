import { setTimeout as delay } from 'node:timers/promises'
import type { ErrorBody, Sandbox } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, deleteSandbox, getSandbox, run, until, untilState } from './call.ts'
import { collectOutput, countedExitCode, expectedOutput, startCounted } from './counted-output.ts'
import { type Drill, realRuntimes, small, startDrill } from './drill.ts'
import { killExactly } from './host-processes.ts'
import { killAll, launchersOf, type MachineParts, machineParts } from './machine-parts.ts'

/** Kills the host's processes of one sandbox while it writes, and looks at what is left of it. */
describe('kill -9 of', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const wounds: Record<string, (id: string) => Promise<void>> = {
    'the shim': async (id) => killAll([(await machineParts(drill.stack, id)).shim]),
    'the spare': async (id) => killAll([(await machineParts(drill.stack, id)).spare]),
    'the shim, and then of the one that took its place': async (id) => {
      const first = await machineParts(drill.stack, id)
      killAll([first.shim])
      const healed = await untilHealed(id, first)
      killAll([healed.shim])
      await untilHealed(id, healed)
    },
    'the spare, and then of the shim': async (id) => {
      const first = await machineParts(drill.stack, id)
      killAll([first.spare])
      const healed = await untilHealed(id, first)
      killAll([healed.shim])
      await untilHealed(id, healed)
    },
  }

  /** A whole pair again, and not the one of before. */
  const untilHealed = async (id: string, before: MachineParts): Promise<MachineParts> =>
    await until('a new pair stands', 10_000, async () => {
      const now = await machineParts(drill.stack, id)
      const old = new Set([before.shim.pid, before.spare.pid])
      return old.has(now.shim.pid) && old.has(now.spare.pid) ? undefined : now
    })

  const cases = realRuntimes.flatMap((runtime) => Object.keys(wounds).map((wound) => ({ runtime, wound })))
  it.each(cases)(
    '$wound ($runtime): the sandbox lives and not a byte is lost',
    async ({ runtime, wound }) => {
      const { stack } = drill
      const sandbox = await createSandbox(stack, { runtime, limits: small })
      const before = await machineParts(stack, sandbox.id)
      const shape = { lines: 800, pauseMs: 2 }
      await startCounted(stack, sandbox.id, 'counted', shape)
      const collecting = collectOutput(stack, sandbox.id, 'counted', 45_000)
      await wounds[wound]!(sandbox.id)
      const { bytes, exit } = await collecting
      expect(exit).toMatchObject({ code: countedExitCode, signal: null })
      expect(bytes.equals(expectedOutput(shape.lines))).toBe(true)
      expect((await getSandbox(stack, sandbox.id)).state).toBe('running')
      const after = await untilHealed(sandbox.id, before)
      expect(after.runtime).toMatchObject({ pid: before.runtime.pid, startTime: before.runtime.startTime })
      await deleteSandbox(stack, sandbox.id)
      expect(await drill.difference()).toEqual({})
    },
  )

  it.each(realRuntimes)(
    'shim and spare at once (%s): ended as a fault, and nothing stays',
    async (runtime) => {
      const { stack } = drill
      const sandbox = await createSandbox(stack, { runtime, limits: small })
      const { shim, spare } = await machineParts(stack, sandbox.id)
      // Stopped first, so that neither can make good for the other in between.
      process.kill(shim.pid, 'SIGSTOP')
      process.kill(spare.pid, 'SIGSTOP')
      killAll([shim, spare])
      const { ended } = await untilState(stack, sandbox.id, 'ended')
      expect(ended).toMatchObject({ cause: 'fault' })
      expect(ended?.message).not.toBe('')
      expect(await drill.difference()).toEqual({})
    },
  )

  it.each(realRuntimes)(
    'the runtime (%s): ended as a fault, with a tombstone that answers',
    async (runtime) => {
      const { stack } = drill
      const sandbox = await createSandbox(stack, { runtime, limits: small })
      const running = call<ErrorBody>(stack, 'POST', `/v1/sandboxes/${sandbox.id}/processes?wait=1`, {
        body: { argv: ['sleep', '60'] },
      })
      await until('sleep runs', 10_000, async () => {
        const seen = await call<{ processes: unknown[] }>(
          stack,
          'GET',
          `/v1/sandboxes/${sandbox.id}/processes`,
        )
        return seen.body.processes.length > 0 ? true : undefined
      })
      killAll([(await machineParts(stack, sandbox.id)).runtime])
      const cut = await running
      expect(cut.status).toBeGreaterThanOrEqual(400)
      expect(['sandbox_ended', 'guest_unreachable', 'stream_broken']).toContain(cut.body.code)

      const { ended } = await untilState(stack, sandbox.id, 'ended')
      expect(ended).toMatchObject({ cause: 'fault' })
      const refused = await call<ErrorBody>(stack, 'POST', `/v1/sandboxes/${sandbox.id}/processes?wait=1`, {
        body: { argv: ['true'] },
      })
      expect(refused).toMatchObject({ status: 410, body: { code: 'sandbox_ended', retryable: false } })
      expect(refused.body.message).toContain('fault')
      expect(await drill.difference()).toEqual({})
    },
  )

  it.each(realRuntimes)(
    'the launcher in the middle of create (%s): a typed error and nothing left',
    async (runtime) => {
      const { stack } = drill
      const creating = call<Sandbox & ErrorBody>(stack, 'POST', '/v1/sandboxes', {
        body: { runtime, limits: small },
      })
      // Again and again: a restore that fails is followed by a boot.
      let killed = 0
      let isOver = false
      const killing = (async () => {
        for (; !isOver; await delay(5))
          for (const launcher of launchersOf(stack)) killed += Number(killExactly(launcher))
      })()
      const answer = await creating
      isOver = true
      await killing
      expect(killed).toBeGreaterThan(0)
      expect(answer.status).toBeGreaterThanOrEqual(500)
      expect(answer.body.code).toMatch(/^[a-z_]+$/)
      expect(answer.body.message.length).toBeGreaterThan(10)
      expect(await drill.difference()).toEqual({})
      // And the next one is as good as ever.
      const sandbox = await createSandbox(stack, { runtime, limits: small })
      expect((await run(stack, sandbox.id, ['echo', 'well'])).stdout).toBe('well\n')
      await deleteSandbox(stack, sandbox.id)
    },
  )
})
