import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'

const processLimit = 64
/** A program that frees what it has at once is looked at this often. */
const quickRuns = 20
/** Forks until refused, holds what it has, and says how many it got. */
const forkAll = (tries: number): string => `
import os, signal
made = []
why = "none"
for _ in range(${tries}):
    try: pid = os.fork()
    except OSError as e: why = e.strerror; break
    if pid == 0: signal.pause()
    made.append(pid)
print(len(made), why, flush=True)
for pid in made: os.kill(pid, 9); os.waitpid(pid, 0)
`

/** The same, freed at once: prints the microseconds from the refusal until nothing was left. */
const quickly = `
import os, signal, time
made = []
try:
    while True:
        pid = os.fork()
        if pid == 0: signal.pause()
        made.append(pid)
except OSError:
    refused = time.monotonic_ns()
for pid in made: os.kill(pid, 9)
for pid in made: os.waitpid(pid, 0)
print((time.monotonic_ns() - refused) // 1000)
`

attackEach('processes', ({ create, runtime }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create({ limits: { processes: processLimit } })
  })

  it('refuses a fork past the limit, and names the limit in the exit', async () => {
    const result = await sandbox.run(['python3', '-c', forkAll(processLimit * 3)])
    const [count, why] = result.stdout.trim().split(/ (.*)/s)
    expect(Number(count)).toBeGreaterThan(processLimit / 2)
    expect(Number(count)).toBeLessThanOrEqual(processLimit)
    expect(why).toBe('Resource temporarily unavailable')
    expect(result.exit.limits).toContain('processes')
  })

  it.runIf(runtime === 'container')(
    'allows exactly its number, as root too, and names no limit up to it',
    async () => {
      for (const user of ['user', 'root']) {
        // The program itself is one.
        const whole = await sandbox.run(['python3', '-c', forkAll(processLimit - 1)], { user })
        expect(whole.stdout.trim()).toBe(`${processLimit - 1} none`)
        expect(whole.exit.limits).not.toContain('processes')
        const over = await sandbox.run(['python3', '-c', forkAll(processLimit)], { user })
        expect(over.stdout.trim()).toBe(`${processLimit - 1} Resource temporarily unavailable`)
        expect(over.exit.limits).toContain('processes')
      }
    },
  )

  it.runIf(runtime === 'container')(
    'names the limit however soon all is freed: the kernel counts',
    async () => {
      const narrow = await create({ limits: { processes: 16 } })
      const named = []
      for (let run = 0; run < quickRuns; run += 1) {
        const result = await narrow.run(['python3', '-c', quickly])
        expect(Number(result.stdout)).toBeGreaterThan(0)
        named.push(result.exit.limits.includes('processes'))
      }
      expect(named).toEqual(Array.from({ length: quickRuns }, () => true))
      expect((await narrow.run('true')).exit.limits).toEqual([])
    },
  )

  it('negative twin: a wider limit lets the same program go on', async () => {
    const wide = await create({ limits: { processes: processLimit * 4, memoryMib: 2_048 } })
    const result = await wide.run(['python3', '-c', forkAll(processLimit * 3)])
    expect(result.stdout.trim()).toBe(`${processLimit * 3} none`)
    expect(result.exit.limits).not.toContain('processes')
  })

  describe.each([
    { who: 'user', bomb: ':(){ :|:& };:' },
    { who: 'root', bomb: ':(){ :|:& };:' },
  ])('a fork bomb as $who', ({ who, bomb }) => {
    it('leaves the agent answering, ends by its deadline, and the sandbox stays usable', async () => {
      const running = sandbox.run(['bash', '-c', `${bomb}; sleep 60`], { user: who, timeoutMs: 4_000 })
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      const started = Date.now()
      const metrics = await sandbox.metrics()
      expect(Date.now() - started).toBeLessThan(3_000)
      expect(metrics.processes.count).toBeLessThanOrEqual(processLimit + 8)
      const { exit } = await running
      expect(exit.timedOut || exit.limits.includes('processes')).toBe(true)
      expect(exit.limits).toContain('processes')
      const after = await sandbox.run('echo usable; for i in 1 2 3 4 5; do /bin/true; done')
      expect(after.stdout).toBe('usable\n')
      expect((await sandbox.metrics()).processes.zombies).toBe(0)
    }, 40_000)
  })

  it('runs 50 rapid children and every exit code is its own', async () => {
    const code = `
import subprocess
children = [subprocess.Popen(["sh", "-c", f"exit {n}"]) for n in range(50)]
print([child.wait() for child in children] == list(range(50)))`
    expect((await sandbox.run(['python3', '-c', code])).stdout.trim()).toBe('True')
  })

  it('ends what called setsid and forked twice with its process', async () => {
    const code = `
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        time.sleep(300)
    os._exit(0)
time.sleep(0.3)`
    const result = await sandbox.run(['python3', '-c', code], { timeoutMs: 20_000 })
    expect(result.exit.survivorsKilled).toBeGreaterThanOrEqual(1)
    const left = await sandbox.run('pgrep -c python3 || true')
    expect(left.stdout.trim()).toBe('0')
  })

  it('stops at the limit of open files', async () => {
    const narrow = await create({ limits: { openFiles: 128 } })
    const code = `
kept = []
try:
    while True: kept.append(open("/dev/null"))
except OSError as e: print(len(kept), e.strerror)`
    const result = await narrow.run(['python3', '-c', code])
    const [count, why] = result.stdout.trim().split(/ (.*)/s)
    expect(Number(count)).toBeGreaterThan(100)
    expect(Number(count)).toBeLessThanOrEqual(128)
    expect(why).toBe('Too many open files')
    expect((await narrow.run('ulimit -n 4096')).ok).toBe(false)
  })

  it('cannot raise its own limits, as root neither', async () => {
    const code = `
import resource
for name in ("NPROC", "NOFILE"):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (1 << 20, 1 << 20)); print(name, "raised")
    except (ValueError, OSError): print(name, "refused")`
    const result = await sandbox.run(['python3', '-c', code], { user: 'root' })
    expect(result.stdout).toBe('NPROC refused\nNOFILE refused\n')
  })
})
