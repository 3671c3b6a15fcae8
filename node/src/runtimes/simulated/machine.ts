import { duplexPair } from 'node:stream'
import { atTime, type Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import type { Machine, MachineExit, MachineRecord, Receipt } from '../driver.ts'
import type { SimulatedMachine, SimulatedWorld } from './world.ts'

/** Version of what is simulated, for records. */
export const simulatedVersion = 'simulated 1'

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
      return machine.frozen ? 'frozen' : 'running'
    },
    freeze: async () => {
      alive('freeze')
      machine.frozen = true
    },
    thaw: async () => {
      alive('thaw')
      machine.frozen = false
    },
    checkpoint: async () => {
      throw new AtollError('unsupported', 'the simulated runtime has no snapshots; use a real runtime')
    },
    resize: async (limits) => {
      alive('resize')
      machine.limits = { ...machine.limits, ...limits }
      machine.guest.tree.limitBytes = machine.limits.diskBytes
      return machine.limits
    },
    setDeadline: async (unixMs) => {
      alive('set the deadline of')
      machine.deadline?.[Symbol.dispose]()
      machine.deadline =
        unixMs === null
          ? undefined
          : atTime(
              unixMs,
              () => clock.now(),
              () =>
                endMachine(world, clock, machine, {
                  cause: 'deadline',
                  message: "the host's deadline passed",
                }),
            )
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
