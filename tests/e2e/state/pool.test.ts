import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { sandboxFolders, startStack, type Stack } from '../../stack/start-stack.ts'
import { machineOf } from './machine-of.ts'
import { orphans } from './orphans.ts'

const size = 4
const fillMs = 60_000

interface Waiting {
  readonly machineId: string
  readonly pid: number
}

/** Machines that wait, frozen, by the node's own records. */
const waiting = (stack: Stack): Waiting[] => {
  const database = new DatabaseSync(join(stack.dataFolder, 'node.db'), { readOnly: true })
  try {
    return database
      .prepare(
        "SELECT machine_id AS machineId, json_extract(machine, '$.runtimePid') AS pid FROM pool WHERE role = 'ready'",
      )
      .all() as unknown as Waiting[]
  } finally {
    database.close()
  }
}
const full = (stack: Stack): Promise<void> =>
  vi.waitFor(() => expect(waiting(stack).length).toBeGreaterThanOrEqual(size), {
    timeout: fillMs,
    interval: 100,
  })

/** User and system time of a process, in ticks. */
const cpuTicks = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

const said = async (sandbox: Sandbox, script: string): Promise<string> =>
  (await sandbox.run(['sh', '-c', script])).stdout.trim()

describe('the pool on gVisor', () => {
  let stack: Stack
  beforeAll(async () => {
    stack = await startStack({ args: ['--pool', String(size)] })
    await full(stack)
  }, 180_000)
  afterAll(() => stack?.[Symbol.asyncDispose]())

  it('uses no CPU while it waits', async () => {
    const pids = waiting(stack).map(({ pid }) => pid)
    const before = pids.map(cpuTicks)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(pids.map(cpuTicks)).toEqual(before)
  })

  it('serves env, name, limits, user and time that nobody knew when it was filled', async () => {
    const before = waiting(stack).map(({ machineId }) => machineId)
    const sandbox = await stack.atoll.sandboxes.create({
      runtime: 'gvisor',
      name: 'claimed',
      env: { WHO: 'me' },
      limits: { cpuMillis: 2_000, memoryMib: 300, processes: 40, openFiles: 200 },
      timeoutMs: 120_000,
    })
    expect(before).toContain(machineOf(stack, sandbox.id))
    expect(sandbox.info.timings).toMatchObject({ claimMs: expect.any(Number), adoptMs: expect.any(Number) })
    expect(await said(sandbox, "echo $WHO; ulimit -n; bash -c 'ulimit -u'; nproc")).toBe('me\n200\n40\n2')
    expect(await said(sandbox, 'grep MemTotal /proc/meminfo')).toMatch(/\b307200 kB/)
    const cgroup = `/sys/fs/cgroup/memory/atoll/${machineOf(stack, sandbox.id)}/memory.limit_in_bytes`
    expect(Number(readFileSync(cgroup, 'utf8'))).toBeLessThan(600 * 1024 ** 2)
    await sandbox.delete()
  })

  it('gives each its own name, machine id and random numbers, though all are one image', async () => {
    await full(stack)
    const sandboxes = await Promise.all(
      Array.from({ length: size }, () => stack.atoll.sandboxes.create({ runtime: 'gvisor' })),
    )
    for (const sandbox of sandboxes) expect(sandbox.info.timings).toHaveProperty('claimMs')
    const look = 'hostname; cat /etc/machine-id; od -An -N16 -tx1 /dev/urandom; cat /run/atoll/generation'
    const all = await Promise.all(sandboxes.map(async (sandbox) => (await said(sandbox, look)).split('\n')))
    for (const line of [0, 1, 2]) expect(new Set(all.map((lines) => lines[line])).size).toBe(size)
    for (const lines of all) expect(lines[3]).toBe('1')
    await Promise.all(sandboxes.map((sandbox) => sandbox.delete()))
  })

  it('hands out none that was killed', async () => {
    await full(stack)
    const victims = waiting(stack).slice(0, 2)
    // What is frozen dies when it is thawed: by its claim, that is.
    for (const { pid } of victims) process.kill(pid, 'SIGKILL')
    for (let count = 0; count < size; count++) {
      const sandbox = await stack.atoll.sandboxes.create({ runtime: 'gvisor' })
      expect(victims.map(({ machineId }) => machineId)).not.toContain(machineOf(stack, sandbox.id))
      expect(await said(sandbox, 'echo alive')).toBe('alive')
      await sandbox.delete()
    }
    expect(await orphans(stack)).toEqual([])
  })

  it('has its members after a crash of the daemon', async () => {
    await full(stack)
    const before = waiting(stack).map(({ machineId }) => machineId)
    await stack.crash()
    await stack.restart()
    await full(stack)
    const after = waiting(stack).map(({ machineId }) => machineId)
    expect(after.filter((id) => before.includes(id)).length).toBeGreaterThanOrEqual(size - 1)
    // They are asked for their health first, and a create does not wait for that.
    await vi.waitFor(
      async () => {
        await using sandbox = await stack.atoll.sandboxes.create({ runtime: 'gvisor' })
        expect(await said(sandbox, 'echo alive')).toBe('alive')
        expect(before).toContain(machineOf(stack, sandbox.id))
      },
      { timeout: fillMs, interval: 200 },
    )
    expect(await orphans(stack)).toEqual([])
  })
  it('is gone after a stop of the daemon, and fills again with the next one', async () => {
    await full(stack)
    expect(await stack.stop()).toBe(0)
    expect(waiting(stack)).toEqual([])
    expect(await sandboxFolders(stack.dataFolder)).toEqual([])
    await stack.restart()
    await full(stack)
    expect(await orphans(stack)).toEqual([])
  })
})
