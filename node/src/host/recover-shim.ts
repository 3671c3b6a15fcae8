import { access } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MachineRecord } from '../runtimes/driver.ts'
import { reap } from './launcher.ts'
import { askShim, readExit, statusSchema } from './shim.ts'
import { shimLives } from './shim-lives.ts'

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

/** Ms for a spare to take over from a killed shim, and between two looks at it. */
const healMs = 10_000
const lookMs = 20

/** Reaping ends what lives: a shim that cannot be asked while it or its spare runs is waited for (invariant 3). */
const isSame = async (record: MachineRecord, signal: AbortSignal): Promise<boolean> => {
  // A start that was never finished has no runtime to be recognised by.
  if (record.runtimePid === 0) return false
  const giveUpAt = performance.now() + healMs
  for (;;) {
    try {
      const status = await askShim(record.directory, { do: 'status' }, statusSchema, signal)
      if (status.state === 'ended') return false
      return status.runtimePid === record.runtimePid && status.runtimeStartTime === record.runtimeStartTime
    } catch (error) {
      signal.throwIfAborted()
      // A shim outlives its sandbox for a while, without its sockets.
      if ((await readExit(record.directory)) !== undefined) return false
      if (!(await shimLives(record.directory))) return false
      if (performance.now() > giveUpAt) throw error
    }
    await sleep(lookMs, undefined, { signal })
  }
}
