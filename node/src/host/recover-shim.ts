import { access } from 'node:fs/promises'
import type { MachineRecord } from '../runtimes/driver.ts'
import { reap } from './launcher.ts'
import { askShim, statusSchema } from './shim.ts'

/** True when the shim of the record holds the very runtime that the record names; else what is left is removed. */
export const recoverShim = async (
  launcherPath: string,
  record: MachineRecord,
  signal: AbortSignal,
): Promise<boolean> => {
  if (await isSame(record, signal)) return true
  const there = await access(record.directory).then(
    () => true,
    () => false,
  )
  if (there) await reap(launcherPath, record.directory, signal)
  return false
}

const isSame = async (record: MachineRecord, signal: AbortSignal): Promise<boolean> => {
  // A start that was never finished has no runtime to be recognised by.
  if (record.runtimePid === 0) return false
  try {
    const status = await askShim(record.directory, { do: 'status' }, statusSchema, signal)
    return status.runtimePid === record.runtimePid && status.runtimeStartTime === record.runtimeStartTime
  } catch {
    signal.throwIfAborted()
    return false
  }
}
