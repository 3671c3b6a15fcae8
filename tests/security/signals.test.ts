import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { call } from './call.ts'
import { pidsOf } from './sandbox-folder.ts'

/** Two pings, of which the last is not answered, and the way (node/src/guest/limits.ts). */
const noticedWithinMs = 12_000
/** An agent that is known not to answer. */
const knownWithinMs = 4_000

attackEach('signals', ({ create, stack }) => {
  let sandbox: Sandbox | undefined
  const box = (): Sandbox => sandbox ?? expect.fail('no sandbox')
  beforeEach(async () => {
    sandbox ??= await create()
  })
  // An attack that worked leaves a dead or frozen sandbox: the next one is judged on another.
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') sandbox = undefined
  })
  const alive = async (): Promise<void> => {
    expect((await box().run('echo alive', { deadlineMs: 8_000 })).stdout).toBe('alive\n')
    expect((await box().refresh()).state).toBe('running')
  }

  describe.each(['user', 'root'])('as %s', (user) => {
    it.each(['KILL', 'STOP', 'TERM', 'SEGV', 'HUP', 'ABRT'])(
      'kill -%s 1 does nothing to the agent',
      async (name) => {
        await box()
          .run(`kill -${name} 1`, { user, deadlineMs: 8_000 })
          .catch(() => undefined)
        await alive()
      },
    )

    it('kill -9 -1 ends what is there and nothing of ours', async () => {
      const other = await box().start(['sleep', '60'], { user })
      const storm = await box().run('kill -9 -1; sleep 1', { user, timeoutMs: 10_000 })
      expect(storm.exit.timedOut).toBe(false)
      expect((await other.wait()).signal).toBe('SIGKILL')
      await alive()
    })

    it('a storm of signals at PID 1 and at everybody delays nobody for long', async () => {
      const storm = `
import os, signal, time
end = time.time() + 3
for name in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGCONT): signal.signal(name, signal.SIG_IGN) if name != signal.SIGCHLD else None
while time.time() < end:
    for name in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGCONT, signal.SIGTERM):
        try: os.kill(1, name)
        except PermissionError: pass`
      const running = box().run(['python3', '-c', storm], { user, timeoutMs: 20_000 })
      const started = Date.now()
      await alive()
      expect(Date.now() - started).toBeLessThan(5_000)
      await running
      await alive()
    }, 40_000)
  })

  it('a stopped process tree is ended by its deadline all the same', async () => {
    const result = await box().run('sleep 50 & kill -STOP $!; kill -STOP $$', { timeoutMs: 1_500 })
    expect(result.exit.timedOut).toBe(true)
    expect(result.exit.signal).toBe('SIGKILL')
  })

  it('negative twin: the same kill ends a process that is not PID 1', async () => {
    const victim = await box().start(['sleep', '60'])
    const { pid } = await victim.info()
    await box().run(`kill -KILL ${pid}`)
    expect((await victim.wait()).signal).toBe('SIGKILL')
  })

  it('reports the code and signal of each, and steals none, under orphans', async () => {
    const orphans = await box().start('for i in $(seq 1 200); do (sh -c "exit $((i % 7))" &); done; sleep 1')
    const codes = await Promise.all(
      [0, 1, 2, 42, 126, 127, 255].map(async (code) => [code, (await box().run(`exit ${code}`)).exit.code]),
    )
    for (const [asked, got] of codes) expect(got).toBe(asked)
    await orphans.wait()
  }, 30_000)

  it('a guest that stands still is told apart within seconds, once, and serves again when it goes on', async () => {
    const lone = await create()
    const path = `/v1/sandboxes/${lone.id}`
    const ask = async (): Promise<{ code: string | undefined; ms: number }> => {
      const started = Date.now()
      const body = JSON.stringify({ argv: ['true'] })
      const { code } = await call(stack(), `${path}/processes?wait=1`, { method: 'POST', body })
      return { code, ms: Date.now() - started }
    }
    const told = async (type: string): Promise<number> =>
      (await call(stack(), `${path}/events`)).text.split(`"node.${type}"`).length - 1
    expect((await ask()).code).toBeUndefined()
    const { runtimePid } = pidsOf(stack(), lone.id)
    process.kill(runtimePid, 'SIGSTOP')
    try {
      const first = await ask()
      expect(first.code).toBe('guest_unreachable')
      expect(first.ms).toBeLessThan(noticedWithinMs)
      const second = await ask()
      expect(second.code).toBe('guest_unreachable')
      expect(second.ms).toBeLessThan(knownWithinMs)
      await expect.poll(() => told('guest_unreachable')).toBe(1)
    } finally {
      process.kill(runtimePid, 'SIGCONT')
    }
    expect((await lone.run('echo alive', { deadlineMs: 8_000 })).stdout).toBe('alive\n')
    await expect.poll(() => told('guest_reachable')).toBe(1)
  }, 40_000)
})
