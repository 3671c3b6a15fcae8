import { shimmedMachine } from '../../host/shimmed-machine.ts'
import type { Machine, MachineLimits, MachineRecord } from '../driver.ts'
import { checkpoint } from './checkpoint.ts'
import { translation } from './limits.ts'
import type { ContainerHost } from './options.ts'

/** The machine of a record. */
export const machineOf = (
  host: ContainerHost,
  record: MachineRecord,
  limits: MachineLimits,
  timings: Readonly<Record<string, number>>,
): Machine =>
  shimmedMachine({
    launcherPath: host.launcherPath,
    record,
    limits,
    timings,
    translation,
    fixed: ['diskBytes', 'openFiles'],
    checkpoint: (target, kind, inForce, signal) => checkpoint(record, inForce, target, kind, signal),
  })
