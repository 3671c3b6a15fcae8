import { recoverLimits } from '../../host/recover-limits.ts'
import { recoverShim } from '../../host/recover-shim.ts'
import type { Machine, MachineRecord } from '../driver.ts'
import { translation } from './limits.ts'
import { machineOf } from './machine.ts'
import type { GvisorHost } from './options.ts'

/** Finds the sandbox of a record again; what is left of one that is gone is removed. */
export const recover = async (
  host: GvisorHost,
  record: MachineRecord,
  signal: AbortSignal,
): Promise<Machine | undefined> => {
  if (!(await recoverShim(host.launcherPath, record, signal))) return undefined
  const limits = await recoverLimits(record.directory, translation, signal)
  return machineOf(host, record, limits, {})
}
