import { AtollError, type RuntimeName } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Machine, MachineRecord } from '../runtimes/driver.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'
import { directoryOf } from './sandbox-directory.ts'

/** What a record names, after a daemon restart. Nothing of another boot lives, but its state files may be left. */
export const findMachine = async (context: Context, record: SandboxRecord): Promise<Machine | undefined> => {
  const { machineId, runtime } = record
  // A stopped one has none, unless its disk was saved and the machine has yet to go.
  if (machineId === null || (record.state === 'stopped' && record.saved === null)) return undefined
  const driver = context.runtimes.driver(runtime)
  if (driver === undefined)
    throw new AtollError(
      'runtime_unavailable',
      `cannot end ${record.id}: this node has no driver for ${runtime}; start the build that created it`,
    )
  const named = record.bootId === context.bootId ? record.machine : null
  return await driver.recover(
    named ?? unfinishedMachine({ id: machineId, runtime }, directoryOf(context, machineId)),
    AbortSignal.timeout(machineLimits.teardownMs),
  )
}

/** Names a start that was never finished: no pid is known, only the folder tells what was begun. */
export const unfinishedMachine = (
  { id, runtime }: { readonly id: string; readonly runtime: RuntimeName },
  directory: string,
): MachineRecord => ({
  runtime,
  id,
  directory,
  shimPid: 0,
  shimStartTime: 0,
  runtimePid: 0,
  runtimeStartTime: 0,
  version: 'unfinished',
})
