import { beforeAll, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'

const spinSeconds = 3
/** Burns all it gets with four threads' worth of processes and prints the CPU time that it got. */
const spin = `
import os, time
end = time.time() + ${spinSeconds}
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        while time.time() < end: pass
        os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
spent = os.times()
print(spent.children_user + spent.children_system)`

attackEach('cpu', ({ create }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create({ limits: { cpuMillis: 500 } })
  })

  const cpuSecondsOf = async (box: Sandbox): Promise<number> => {
    const before = (await box.metrics()).cpu.usedMs
    await box.run(['python3', '-c', spin], { timeoutMs: 30_000 })
    return ((await box.metrics()).cpu.usedMs - before) / 1_000
  }

  it('gives half a CPU to who asked for half; the twin with two gets more', async () => {
    const half = await cpuSecondsOf(sandbox)
    const wide = await cpuSecondsOf(await create({ limits: { cpuMillis: 2_000 } }))
    // Start-up of python and a noisy machine: a quarter more is no hole.
    expect(half).toBeLessThan(spinSeconds * 0.5 * 1.5)
    expect(wide).toBeGreaterThan(half * 1.4)
  }, 60_000)

  it('does not starve a neighbour', async () => {
    const neighbour = await create()
    const spinner = sandbox.run(['python3', '-c', spin], { timeoutMs: 30_000 })
    const times: number[] = []
    for (let n = 0; n < 15; n += 1) {
      const started = Date.now()
      expect((await neighbour.run(['true'])).ok).toBe(true)
      times.push(Date.now() - started)
    }
    times.sort((a, b) => a - b)
    expect(times[7], 'median exec of a neighbour, ms').toBeLessThan(1_000)
    await spinner
  }, 60_000)

  it('shows no more CPUs than it may use', async () => {
    const one = await create({ limits: { cpuMillis: 1_000 } })
    expect((await one.run(['nproc'])).stdout.trim()).toBe('1')
    expect((await one.run(['python3', '-c', 'import os; print(os.cpu_count())'])).stdout.trim()).toBe('1')
  })
})
