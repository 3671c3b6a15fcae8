import { metricsSchema } from '@atoll/protocol'
import { expect } from 'vitest'
import type { Case } from '../conformance.ts'
import type { Booted } from './bench.ts'

const mib = 1024 ** 2

/** Whatever happened: the sandbox goes on. */
const usable = async (box: Booted): Promise<void> => {
  expect((await box.run('echo usable')).stdout).toBe('usable\n')
  const { body } = await box.json('GET', '/v1/health')
  expect(body.sandboxId).toBe(box.spec.id)
}

export const limitCases: Readonly<Record<string, Case>> = {
  'shows its own number of CPUs inside': async (bench) => {
    await using box = await bench.boot({ limits: { cpuMillis: 1_000 } })
    expect((await box.run(['nproc'])).stdout).toBe('1\n')
  },
  'shows its own memory inside': async (bench) => {
    await using box = await bench.boot()
    const { stdout } = await box.run("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")
    const total = Number(stdout) * 1024
    expect(total).toBeGreaterThan(box.spec.limits.memoryBytes * 0.8)
    expect(total).toBeLessThanOrEqual(box.spec.limits.memoryBytes * 1.3)
  },
  'shows its own disk inside': async (bench) => {
    await using box = await bench.boot()
    const { stdout } = await box.run('df -B1 --output=size / | tail -1')
    const size = Number(stdout)
    expect(size).toBeGreaterThan(box.spec.limits.diskBytes * 0.8)
    expect(size).toBeLessThanOrEqual(box.spec.limits.diskBytes * 1.05)
  },
  'tells its limits by metrics': async (bench) => {
    await using box = await bench.boot()
    const { body } = await box.json('GET', '/v1/metrics')
    const metrics = metricsSchema.parse(body)
    expect(metrics.processes.limit).toBe(box.spec.limits.processes)
    expect(metrics.memory.limitBytes).toBe(box.spec.limits.memoryBytes)
    expect(metrics.disk.limitBytes).toBeGreaterThan(0)
  },
  'names memory as what ended a command, and goes on': async (bench) => {
    await using box = await bench.boot()
    const hog = 'x = []\nwhile True: x.append(bytearray(4 << 20))'
    const { exit } = await box.run(['python3', '-c', hog], { timeoutMs: 60_000 })
    expect(exit).toMatchObject({ oom: true, timedOut: false })
    expect(exit.limits).toContain('memory')
    await usable(box)
  },
  'names the number of processes as what was in the way, and goes on': async (bench) => {
    // Room enough that memory is not what is in the way.
    await using box = await bench.boot({ limits: { memoryBytes: 1024 * mib } })
    const bomb = [
      'import os, sys, time',
      'for i in range(400):',
      '  try:',
      '    if os.fork() == 0: time.sleep(30); os._exit(0)',
      '  except OSError as e: print(e.errno); sys.exit(9)',
    ].join('\n')
    const { exit, stdout } = await box.run(['python3', '-c', bomb], { timeoutMs: 30_000 })
    expect(stdout).toBe('11\n')
    expect(exit).toMatchObject({ code: 9 })
    expect(exit.limits).toContain('processes')
    await usable(box)
  },
  'survives a fork bomb': async (bench) => {
    await using box = await bench.boot()
    await box.run('bomb() { bomb | bomb & }; bomb; sleep 2', { timeoutMs: 4_000 })
    await usable(box)
  },
  'names the disk as what is full, and goes on': async (bench) => {
    await using box = await bench.boot({ limits: { diskBytes: 96 * mib } })
    const filled = await box.run('head -c 400M /dev/zero > /home/user/fill; sync; echo "code $?"')
    expect(filled.stderr).toContain('No space left on device')
    expect(filled.exit.limits).toContain('disk')
    await usable(box)
    const write = await box.guest.request({
      method: 'PUT',
      path: '/v1/files?path=/home/user/more',
      body: Buffer.alloc(8 * mib),
    })
    const chunks: Uint8Array[] = []
    for await (const chunk of write.body) chunks.push(chunk)
    expect(write.status).toBe(507)
    expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ code: 'disk_full' })
    expect((await box.run('rm /home/user/fill && echo again > /home/user/small')).exit.code).toBe(0)
  },
  'refuses more open files than its limit': async (bench) => {
    await using box = await bench.boot()
    const { stdout } = await box.run('ulimit -n')
    expect(Number(stdout)).toBe(box.spec.limits.openFiles)
  },
  'keeps to its share of the CPU': async (bench) => {
    await using box = await bench.boot({ limits: { cpuMillis: 300 } })
    const spin = 'import time; e = time.monotonic() + 2\nwhile time.monotonic() < e: pass'
    const before = (await box.machine.usage(AbortSignal.timeout(5_000))).cpuMs
    await box.run(['python3', '-c', spin], { timeoutMs: 30_000 })
    const used = (await box.machine.usage(AbortSignal.timeout(5_000))).cpuMs - before
    expect(used).toBeGreaterThan(100)
    expect(used).toBeLessThan(1_500)
  },
}
