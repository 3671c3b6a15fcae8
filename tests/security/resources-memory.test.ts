import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { daemonResidentBytes } from './host-memory.ts'

const memoryMib = 256
const hogs = [
  {
    name: 'python, one thread',
    argv: (mib: number) => [
      'python3',
      '-c',
      `kept = []\nfor _ in range(${mib} // 8): kept.append(b"x" * (8 << 20))\nprint("kept all")`,
    ],
  },
  {
    name: 'python, eight threads',
    argv: (mib: number) => [
      'python3',
      '-c',
      `import threading, time
kept = []
def eat():
    for _ in range(${mib} // 64): kept.append(b"x" * (8 << 20)); time.sleep(0.01)
threads = [threading.Thread(target=eat) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print("kept all")`,
    ],
  },
  {
    name: 'node, with its threads',
    argv: (mib: number) => [
      'node',
      '-e',
      `const kept = []; for (let i = 0; i < ${mib} / 8; i++) kept.push(Buffer.alloc(8 << 20, 1)); console.log("kept all")`,
    ],
  },
] as const

attackEach('memory', ({ create, stack, runtime }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create({ limits: { memoryMib } })
  })

  describe.each(hogs)('a hog: $name', ({ argv }) => {
    it('is ended and named; the sandbox stays usable', async () => {
      const result = await sandbox.run(argv(memoryMib * 3), { timeoutMs: 40_000 })
      expect(result.stdout).not.toContain('kept all')
      expect(result.exit.timedOut, 'it hung instead of being ended').toBe(false)
      expect(result.exit.oom).toBe(true)
      expect(result.exit.limits).toContain('memory')
      const after = await sandbox.run('echo usable')
      expect(after.stdout).toBe('usable\n')
    }, 60_000)
  })

  it('negative twin: with more memory the same hogs keep all', async () => {
    const wide = await create({ limits: { memoryMib: memoryMib * 6 } })
    for (const { argv } of hogs) {
      const result = await wide.run(argv(memoryMib * 3), { timeoutMs: 40_000 })
      expect(result.stdout).toContain('kept all')
      expect(result.exit.oom).toBe(false)
    }
  }, 120_000)

  it('says oom of a tree whose child was the hog', async () => {
    const script = 'python3 -c "x = b\'y\' * (900 << 20)"; echo "survived $?"'
    const result = await sandbox.run(['sh', '-c', script], { timeoutMs: 40_000 })
    expect(result.exit.oom).toBe(true)
    expect((await sandbox.run(['true'])).ok).toBe(true)
  }, 60_000)

  it('counts /dev/shm: it is full at its own size, or the sandbox ends by a named cause', async () => {
    const fill = 'dd if=/dev/zero of=/dev/shm/fill bs=1M count=1024 2>&1; rm -f /dev/shm/fill'
    const result = await sandbox.run(fill, { timeoutMs: 40_000 })
    expect(result.stdout).toMatch(/No space left on device|Cannot allocate memory/)
    expect((await sandbox.run(['true'])).ok).toBe(true)
  }, 60_000)

  it('shows its own size inside', async () => {
    const result = await sandbox.run("awk '/MemTotal/ { print $2 }' /proc/meminfo")
    const totalMib = Number(result.stdout) / 1024
    expect(totalMib).toBeGreaterThan(memoryMib * 0.5)
    expect(totalMib).toBeLessThanOrEqual(memoryMib * 1.05)
  })

  // gVisor takes any value and hands none of it to the host: its kernel is one process there.
  it.runIf(runtime === 'container')('cannot lower its own standing with the killer', async () => {
    const result = await sandbox.run('echo -1000 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj', {
      user: 'user',
    })
    expect(Number(result.stdout.trim().split('\n').at(-1))).toBeGreaterThanOrEqual(0)
  })

  it('costs the daemon nothing', async () => {
    const before = daemonResidentBytes(stack().pid)
    await sandbox.run(hogs[0].argv(memoryMib * 3), { timeoutMs: 40_000 })
    expect(daemonResidentBytes(stack().pid) - before).toBeLessThan(64 * 1024 * 1024)
  }, 60_000)
})
