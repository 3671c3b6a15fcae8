import { duplexPair } from 'node:stream'
import { atTime, type Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import type { Machine, MachineExit, MachineRecord, Receipt } from '../driver.ts'
import { checkpoint } from './checkpoint.ts'
import { simulatedVersion } from './version.ts'
import type { SimulatedMachine, SimulatedWorld } from './world.ts'

/** The port's view on a machine of the world. */
export const machineOf = (
  world: SimulatedWorld,
  clock: Clock,
  machine: SimulatedMachine,
  timings: Readonly<Record<string, number>>,
): Machine => {
  const alive = (act: string): void => {
    if (machine.exit !== undefined)
      throw new AtollError('guest_unreachable', `cannot ${act} ${machine.id}: it has ended`)
  }
  const destroy = async (): Promise<Receipt> => destroyMachine(world, clock, machine)
  return {
    record: recordOf(machine),
    timings,
    exited: machine.exited.promise,
    connectGuest: async (signal) => {
      signal.throwIfAborted()
      alive('connect to')
      const [ours, theirs] = duplexPair()
      theirs.on('error', () => undefined)
      machine.agent.accept(theirs)
      return ours
    },
    state: async () => {
      if (machine.exit !== undefined) return 'ended'
      return machine.guest.frozen.isClosed ? 'frozen' : 'running'
    },
    freeze: async () => {
      alive('freeze')
      machine.guest.frozen.close()
    },
    thaw: async () => {
      alive('thaw')
      machine.guest.frozen.open()
    },
    checkpoint: async (target, kind, signal) => {
      alive('save')
      return await checkpoint(machine, target, kind, signal)
    },
    resize: async (wanted) => {
      alive('resize')
      const { limits } = machine
      machine.limits = {
        cpuMillis: wanted.cpuMillis ?? limits.cpuMillis,
        memoryBytes: wanted.memoryBytes ?? limits.memoryBytes,
        processes: wanted.processes ?? limits.processes,
        diskBytes: wanted.diskBytes ?? limits.diskBytes,
        openFiles: wanted.openFiles ?? limits.openFiles,
      }
      machine.guest.tree.limitBytes = machine.limits.diskBytes
      return machine.limits
    },
    setDeadline: async (unixMs, action) => {
      alive('set the deadline of')
      setDeadline(world, clock, machine, unixMs, action)
    },
    usage: async () => ({
      memoryBytes: 0,
      memoryPeakBytes: 0,
      memoryLimitBytes: machine.limits.memoryBytes,
      cpuMs: 0,
      hostProcesses: runningOf(machine),
      oomKills: 0,
    }),
    destroy,
    [Symbol.asyncDispose]: async () => void (await destroy()),
  }
}

/** What happens at that instant with nobody's help. */
export const setDeadline = (
  world: SimulatedWorld,
  clock: Clock,
  machine: SimulatedMachine,
  unixMs: number | null,
  action: 'kill' | 'freeze',
): void => {
  machine.deadline?.[Symbol.dispose]()
  machine.deadline = undefined
  if (unixMs === null) return
  const act = (): void => {
    if (action === 'freeze') return machine.guest.frozen.close()
    endMachine(world, clock, machine, { cause: 'deadline', message: "the host's deadline passed" })
  }
  machine.deadline = atTime(unixMs, () => clock.now(), act)
}

/** Ends a machine as its host sees it: programs stop, the channel breaks, `exited` resolves. */
export const endMachine = (
  world: SimulatedWorld,
  clock: Clock,
  machine: SimulatedMachine,
  how: Pick<MachineExit, 'cause' | 'message'>,
): void => {
  if (machine.exit !== undefined) return
  machine.exit = { ...how, code: null, signal: 'SIGKILL', oomKills: 0, atUnixMs: clock.now() }
  machine.deadline?.[Symbol.dispose]()
  for (const process of machine.guest.processes.values()) process.signal('SIGKILL')
  machine.agent.close()
  world.machines.delete(machine.id)
  machine.exited.resolve(machine.exit)
}

const destroyMachine = (world: SimulatedWorld, clock: Clock, machine: SimulatedMachine): Receipt => {
  const began = clock.monotonic()
  const processes = machine.exit === undefined ? 1 + runningOf(machine) : 0
  endMachine(world, clock, machine, { cause: 'killed', message: 'destroyed by the node' })
  return { processes, cgroups: 0, mounts: 0, files: 0, durationMs: clock.monotonic() - began }
}

const runningOf = (machine: SimulatedMachine): number =>
  [...machine.guest.processes.values()].filter((process) => process.record().exit === null).length

const recordOf = (machine: SimulatedMachine): MachineRecord => ({
  runtime: 'simulated',
  id: machine.id,
  directory: machine.directory,
  shimPid: machine.startTime,
  shimStartTime: machine.startTime,
  runtimePid: machine.startTime,
  runtimeStartTime: machine.startTime,
  version: simulatedVersion,
})
