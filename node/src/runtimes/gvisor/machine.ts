import type { Started } from '../../host/launcher.ts'
import { shimmedMachine } from '../../host/shimmed-machine.ts'
import type { Machine, MachineLimits, MachineRecord, MachineSpec } from '../driver.ts'
import { checkpoint } from './checkpoint.ts'
import { translation } from './limits.ts'
import { type GvisorHost, versionOf } from './options.ts'

/** The machine of a record. */
export const machineOf = (
  host: GvisorHost,
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
    // The disk is a tmpfs whose size is one of its mount options, inside.
    fixed: ['diskBytes'],
    checkpoint: (target, kind, inForce, signal) =>
      checkpoint({ host, record, limits: inForce }, target, kind, signal),
  })

/** The machine of what the launcher has just started. */
export const gvisorMachine = (
  host: GvisorHost,
  { id, directory, limits }: MachineSpec,
  { timings, ...pids }: Started,
): Machine =>
  machineOf(host, { runtime: 'gvisor', id, directory, ...pids, version: versionOf(host) }, limits, timings)
