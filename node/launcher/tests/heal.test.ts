import { setTimeout as sleep } from 'node:timers/promises'
import { AtollError } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { askHealth, guestGeneration } from '../../src/guest/calls.ts'
import { guestConnection } from '../../src/guest/connection.ts'
import { readExit } from '../../src/host/shim.ts'
import type { Machine } from '../../src/runtimes/driver.ts'
import { drivers, host, shimRecord, signal, untilGone, useDrill } from './drill.ts'

const until = async (what: string, test: () => boolean): Promise<void> => {
  const deadline = performance.now() + 5_000
  while (!test()) {
    if (performance.now() > deadline) throw new Error(`${what}: not in 5 s`)
    await sleep(2)
  }
}
const pair = (machine: Machine): { shim: number; spare: number } => {
  const { shimPid, spare } = shimRecord(machine)
  return { shim: shimPid, spare: spare?.pid ?? 0 }
}
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
const open = (machine: Machine) => guestConnection((cancel) => machine.connectGuest(cancel), Math.random)
const close = (guest: ReturnType<typeof open>): void =>
  guest.close(new AtollError('canceled', 'the case is over'))

describe.skipIf(host.skip !== undefined).each(['gvisor', 'container'] as const)(
  `kill -9 on %s (${host.skip ?? 'runs'})`,
  (runtime) => {
    const drill = useDrill()

    it('of the shim, again and again: the sandbox stays and its bytes stay in step', async () => {
      const spec = await drill.spec()
      await using machine = await drivers[runtime].start(spec, signal())
      const content = Buffer.alloc(24 * 1024 ** 2, 'the same bytes over and over, with an odd length')
      for (let round = 0; round < 6; round++) {
        const before = pair(machine)
        const guest = open(machine)
        await askHealth(guest, 10_000)
        const upload = guest
          .request({ method: 'PUT', path: '/v1/files?path=/tmp/x&user=0', body: content })
          .then(async (response) => {
            for await (const _ of response.body);
            return response.status
          })
          .catch(() => 'cut')
        await sleep(round * 4)
        process.kill(before.shim, 'SIGKILL')
        await upload
        close(guest)
        await until('another shim and another spare', () => {
          const { shim, spare } = pair(machine)
          return shim !== before.shim && spare !== 0 && isAlive(spare)
        })
        const again = open(machine)
        const health = await askHealth(again, 10_000)
        expect(health.generation).toBe(guestGeneration)
        close(again)
      }
      expect(await machine.state(signal())).toBe('running')
      expect(isAlive(machine.record.runtimePid)).toBe(true)
      await machine.destroy(signal())
      expect(await untilGone(spec)).toEqual([])
    })

    it('of the spare: the shim makes another', async () => {
      const spec = await drill.spec()
      await using machine = await drivers[runtime].start(spec, signal())
      const before = pair(machine)
      process.kill(before.spare, 'SIGKILL')
      await until('another spare', () => {
        const { shim, spare } = pair(machine)
        return shim === before.shim && spare !== before.spare && isAlive(spare)
      })
      // The new spare is the shim's child: it must take over all the same.
      const healed = pair(machine)
      process.kill(healed.shim, 'SIGKILL')
      await until('the new spare took over', () => pair(machine).shim === healed.spare)
      const guest = open(machine)
      await askHealth(guest, 10_000)
      close(guest)
      await machine.destroy(signal())
      expect(await untilGone(spec)).toEqual([])
    })

    it('of the runtime: the end is a fault with its signal, also after a takeover', async () => {
      for (const takeOver of [false, true]) {
        const spec = await drill.spec()
        await using machine = await drivers[runtime].start(spec, signal())
        if (takeOver) {
          const before = pair(machine)
          process.kill(before.shim, 'SIGKILL')
          await until('the spare took over', () => pair(machine).shim === before.spare)
        }
        process.kill(machine.record.runtimePid, 'SIGKILL')
        expect(await machine.exited).toMatchObject({ cause: 'fault', code: null, signal: 'SIGKILL' })
        await machine.destroy(signal())
        expect(await untilGone(spec)).toEqual([])
      }
    })

    it('of both at one instant: the node reaps, and says that the shim was lost', async () => {
      const spec = await drill.spec()
      await using machine = await drivers[runtime].start(spec, signal())
      const { shim, spare } = pair(machine)
      for (const name of ['SIGSTOP', 'SIGKILL'] as const)
        for (const pid of [shim, spare]) process.kill(pid, name)
      expect(await machine.exited).toMatchObject({ cause: 'fault', message: 'shim lost' })
      // gVisor itself may end when its streams break; what is left then are its cgroups.
      expect((await readExit(spec.directory))?.receipt?.cgroups).toBeGreaterThan(0)
      expect(await untilGone(spec)).toEqual([])
    })
  },
)
