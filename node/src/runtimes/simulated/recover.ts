import type { Clock } from '@atoll/kit'
import type { Machine, MachineRecord } from '../driver.ts'
import { endMachine, machineOf } from './machine.ts'
import type { SimulatedWorld } from './world.ts'

/** Finds a machine of the world again, by id and start time; ends one whose start was never finished. */
export const recover = async (
  world: SimulatedWorld,
  clock: Clock,
  record: MachineRecord,
): Promise<Machine | undefined> => {
  const machine = world.machines.get(record.id)
  if (machine !== undefined && record.shimPid === 0)
    endMachine(world, clock, machine, { cause: 'fault', message: 'its start was never finished' })
  if (machine === undefined || machine.startTime !== record.shimStartTime) return undefined
  return machineOf(world, clock, machine, {})
}
