import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { AtollError } from '@atoll/protocol'
import { askHealth } from '../../src/guest/calls.ts'
import { guestConnection } from '../../src/guest/connection.ts'
import type { Machine, MachineImage, MachineSpec } from '../../src/runtimes/driver.ts'
import { drivers, host, launchersOf, shimRecord, signal, untilGone, useDrill } from './drill.ts'

const { gvisor } = drivers
/** Ms after the call at which the blow falls: before, in and after what it hits. */
const blows = [0, 4, 8, 15, 25, 50]

const saved = async (machine: Machine): Promise<MachineImage> =>
  await machine.checkpoint(await target(machine), 'memory', signal())
const target = (machine: Machine): Promise<string> =>
  mkdtemp(join(dirname(machine.record.directory), 'image-'))

const answers = async (machine: Machine): Promise<boolean> => {
  const guest = guestConnection((cancel) => machine.connectGuest(cancel), Math.random)
  try {
    await askHealth(guest, 10_000)
    return true
  } finally {
    guest.close(new AtollError('canceled', 'the case is over'))
  }
}

const settled = async <Value>(work: Promise<Value>): Promise<Value | undefined> =>
  await work.catch((error: unknown) => {
    expect(error).toBeInstanceOf(AtollError)
    return undefined
  })

describe.skipIf(host.skip !== undefined)(
  `kill -9 around a snapshot of gvisor (${host.skip ?? 'runs'})`,
  () => {
    const drill = useDrill()

    it('of the shim in a checkpoint: the sandbox stays, and what is told is whole', async () => {
      const spec = await drill.spec()
      await using machine = await gvisor.start(spec, signal())
      for (const blow of blows) {
        const folder = await target(machine)
        const work = machine.checkpoint(folder, 'memory', signal())
        const told = settled(work)
        await sleep(blow)
        process.kill(shimRecord(machine).shimPid, 'SIGKILL')
        const image = await told
        expect(await answers(machine)).toBe(true)
        if (image === undefined) expect(await readdir(folder)).toEqual([])
        else {
          const copySpec = await drill.spec()
          await using copy = await gvisor.restore(image, copySpec, signal())
          expect(await answers(copy)).toBe(true)
        }
      }
      await machine.destroy(signal())
      expect(await untilGone(spec)).toEqual([])
    })

    it('of runsc in a checkpoint: nothing is left, nor told', async () => {
      for (const blow of blows.slice(0, 3)) {
        const spec = await drill.spec()
        await using machine = await gvisor.start(spec, signal())
        const folder = await target(machine)
        const told = settled(machine.checkpoint(folder, 'memory', signal()))
        await sleep(blow)
        process.kill(machine.record.runtimePid, 'SIGKILL')
        const image = await told
        expect((await readdir(folder)).length).toBe(image?.files.length ?? 0)
        expect((await machine.exited).cause).toMatch(/fault|exited/)
        await machine.destroy(signal())
        expect(await untilGone(spec)).toEqual([])
      }
    })

    it.each(['runsc', 'shim', 'both launcher processes'] as const)(
      'of %s in a restore: it runs, or nothing of it is there',
      async (victim) => {
        await using machine = await gvisor.start(await drill.spec(), signal())
        const image = await saved(machine)
        for (const blow of blows) {
          const spec = await drill.spec()
          const blank = await gvisor.blank(spec, signal())
          const told = settled(blank.restore(image, signal()))
          await sleep(blow)
          strike(victim, spec, blank.record.runtimePid)
          const copy = await told
          if (copy !== undefined && victim === 'shim') expect(await answers(copy)).toBe(true)
          await copy?.destroy(signal())
          expect(await untilGone(spec)).toEqual([])
        }
        expect(await answers(machine)).toBe(true)
      },
    )

    it('of the whole group of launchers around a blank, which is then reaped by its record', async () => {
      const spec = await drill.spec()
      const blank = await gvisor.blank(spec, signal())
      await blank.freeze(signal())
      strike('both launcher processes', spec, 0)
      expect(await gvisor.recover({ ...blank.record, shimPid: 0, runtimePid: 0 }, signal())).toBeUndefined()
      expect(await untilGone(spec)).toEqual([])
    })

    it('finds no launcher that uses CPU while its sandbox is frozen', async () => {
      const spec = await drill.spec()
      await using machine = await gvisor.start(spec, signal())
      await machine.freeze(signal())
      // In its first half second a shim looks every 3 ms whether memory ran out.
      await sleep(700)
      const before = launchersOf(spec.directory).map(ticksOf)
      await sleep(1_000)
      expect(launchersOf(spec.directory).map(ticksOf)).toEqual(before)
    })

    it('finds a machine of the pool behind all others until it is claimed', async () => {
      const spec = await drill.spec({ weight: 'background' })
      await using machine = await gvisor.start(spec, signal())
      expect(cpuWeight(spec.id)).toBe(weights.background)
      await machine.resize({ weight: 'normal', cpuMillis: 500 }, signal())
      expect(cpuWeight(spec.id)).toBe(weights.normal)
      await machine.resize({ cpuMillis: 700 }, signal())
      expect(cpuWeight(spec.id)).toBe(weights.normal)
    })

    it('is not needed to end a frozen sandbox quickly', async () => {
      const spec = await drill.spec()
      const machine = await gvisor.start(spec, signal())
      await machine.freeze(signal())
      const { durationMs } = await machine.destroy(signal())
      // 12 ms without other load; this host is shared.
      expect(durationMs).toBeLessThan(60)
      expect(await untilGone(spec)).toEqual([])
    })
  },
)

/** Ticks of 10 ms that a process has used. */
const ticksOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** cgroup v1 has shares, of which 1,024 are what version 2 calls 100. */
const isV1 = existsSync('/sys/fs/cgroup/cpu')
const weights = isV1 ? { background: 30, normal: 1_024 } : { background: 3, normal: 100 }
const cpuWeight = (id: string): number =>
  Number(
    readFileSync(
      isV1 ? `/sys/fs/cgroup/cpu/atoll-test/${id}/cpu.shares` : `/sys/fs/cgroup/atoll-test/${id}/cpu.weight`,
      'utf8',
    ),
  )

const strike = (victim: string, spec: MachineSpec, runtimePid: number): void => {
  const targets =
    victim === 'runsc'
      ? [runtimePid]
      : victim === 'shim'
        ? launchersOf(spec.directory).slice(0, 1)
        : launchersOf(spec.directory)
  for (const name of ['SIGSTOP', 'SIGKILL'] as const)
    for (const pid of targets)
      try {
        process.kill(pid, name)
      } catch {
        // It has ended by itself.
      }
}
