import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createSandbox, deleteSandbox, getSandbox, run, until, untilState } from './call.ts'
import { collectOutput, countedExitCode, expectedOutput, startCounted } from './counted-output.ts'
import { type Drill, realRuntimes, small, startDrill } from './drill.ts'
import { hostProcess, killExactly } from './host-processes.ts'
import { killAll, machineParts } from './machine-parts.ts'

/** Invariant 3: what runs outlives the daemon; what is reported after a restart was probed. */
describe('kill -9 of the daemon', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  it.each(realRuntimes)('loses no sandbox and no output of %s', async (runtime) => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime, limits: small })
    const before = await machineParts(stack, sandbox.id)
    await run(stack, sandbox.id, ['sh', '-c', 'echo kept > /home/user/kept'])
    const shape = { lines: 1_500, pauseMs: 2 }
    await startCounted(stack, sandbox.id, 'counted', shape)
    const collecting = collectOutput(stack, sandbox.id, 'counted', 60_000)
    // In flight: some of it has arrived, and most of it is yet to come.
    await until('the first output is there', 20_000, async () => {
      const seen = await run(stack, sandbox.id, ['cat', '/home/user/kept'])
      return seen.stdout === 'kept\n' ? true : undefined
    })
    await stack.crash()
    await stack.restart()

    expect((await getSandbox(stack, sandbox.id)).state).toBe('running')
    const after = await machineParts(stack, sandbox.id)
    expect({ pid: after.runtime.pid, startTime: after.runtime.startTime }).toEqual({
      pid: before.runtime.pid,
      startTime: before.runtime.startTime,
    })
    const { bytes, exit } = await collecting
    expect(exit).toMatchObject({ code: countedExitCode, signal: null })
    expect(bytes.equals(expectedOutput(shape.lines))).toBe(true)
    const kept = await run(stack, sandbox.id, ['cat', '/home/user/kept'])
    expect(kept.stdout).toBe('kept\n')
    await deleteSandbox(stack, sandbox.id)
    expect(await drill.difference()).toEqual({})
  })

  it('keeps the result of a process that ended while the daemon was dead', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const shape = { lines: 100, pauseMs: 5 }
    await startCounted(stack, sandbox.id, 'alone', shape)
    await stack.crash()
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    await stack.restart()
    const { bytes, exit } = await collectOutput(stack, sandbox.id, 'alone', 20_000)
    expect(exit).toMatchObject({ code: countedExitCode, signal: null })
    expect(bytes.equals(expectedOutput(shape.lines))).toBe(true)
    await deleteSandbox(stack, sandbox.id)
  })

  it('reports by a probe: a sandbox that died with the daemon is not called running', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const { runtime } = await machineParts(stack, sandbox.id)
    await stack.crash()
    process.kill(runtime.pid, 'SIGKILL')
    await until('the runtime is gone', 5_000, () =>
      hostProcess(runtime.pid) === undefined ? true : undefined,
    )
    await stack.restart()
    const ended = await untilState(stack, sandbox.id, 'ended')
    expect(ended.ended).toMatchObject({ cause: 'fault' })
    expect(await drill.difference()).toEqual({})
  })

  it.each(['before the restart', 'during the restart'])(
    'keeps a sandbox whose shim is killed %s: a transient silence is no end',
    async (when) => {
      const { stack } = drill
      const sandboxes = await Promise.all(
        [1, 2, 3].map(() => createSandbox(stack, { runtime: 'gvisor', limits: small })),
      )
      const parts = await Promise.all(sandboxes.map(({ id }) => machineParts(stack, id)))
      await stack.crash()
      if (when === 'before the restart') killAll(parts.map(({ shim }) => shim))
      const restarting = stack.restart()
      if (when === 'during the restart') {
        // One blow after another until the daemon answers: some of them hit while it looks.
        let restarted = false
        void restarting.then(() => (restarted = true))
        while (!restarted) {
          for (const { id } of sandboxes) {
            const { shim } = await machineParts(stack, id)
            killExactly(shim)
          }
          await delay(50)
        }
      }
      await restarting
      for (const { id } of sandboxes) {
        expect((await getSandbox(stack, id)).state).toBe('running')
        expect((await run(stack, id, ['echo', 'alive'])).stdout).toBe('alive\n')
        await deleteSandbox(stack, id)
      }
      expect(await drill.difference()).toEqual({})
    },
  )

  it('ends a sandbox at its deadline while the daemon is dead, and says so after', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small, timeoutMs: 4_000 })
    const { runtime } = await machineParts(stack, sandbox.id)
    await stack.crash()
    await until('the shim has ended it', 30_000, () =>
      hostProcess(runtime.pid) === undefined ? true : undefined,
    )
    expect(Date.now()).toBeGreaterThanOrEqual(sandbox.createdAtMs + 4_000)
    await stack.restart()
    const ended = await untilState(stack, sandbox.id, 'ended')
    expect(ended.ended).toMatchObject({ cause: 'deadline' })
    expect(await drill.difference()).toEqual({})
  })

  it('leaves sandboxes running at SIGTERM too', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    const before = await machineParts(stack, sandbox.id)
    expect(await stack.stop()).toBe(0)
    expect(hostProcess(before.runtime.pid)?.startTime).toBe(before.runtime.startTime)
    await stack.restart()
    expect((await run(stack, sandbox.id, ['echo', 'here'])).stdout).toBe('here\n')
    await deleteSandbox(stack, sandbox.id)
    expect(await drill.difference()).toEqual({})
  })
})
