import type { Context } from '../machines/context.ts'
import { unfinishedMachine } from '../machines/find-machine.ts'
import { machineLimits } from '../machines/limits.ts'
import { directoryOf } from '../machines/sandbox-directory.ts'
import type { PoolRecord } from '../records/pool.ts'
import { freeMachine } from './begin.ts'

/** Frees one machine that the records know and nobody answers for; false when there is none that can be freed. */
export const reapPool = async (context: Context): Promise<boolean> => {
  for (const row of context.records.pool.all())
    if (!context.pool.owned.has(row.machineId)) return await reapMachine(context, row)
  return false
}

/** Ends what a row leads to, whatever became of it. True when it is gone. */
export const reapMachine = async (context: Context, row: PoolRecord): Promise<boolean> => {
  const { machineId, runtime, machine, bootId } = row
  const driver = context.runtimes.driver(runtime)
  if (driver === undefined) {
    context.logger.warn({ machine: machineId, runtime }, 'no driver to free a machine with')
    return false
  }
  context.pool.owned.add(machineId)
  const signal = AbortSignal.timeout(machineLimits.teardownMs)
  // Pids of another boot of the host name nothing; its files may be left.
  const named = bootId === context.bootId ? machine : null
  const directory = directoryOf(context, machineId)
  const found = await driver
    .recover(named ?? unfinishedMachine({ id: machineId, runtime }, directory), signal)
    .catch((error: unknown) => {
      context.logger.error(
        { machine: machineId, err: error },
        'a machine could not be freed and will be tried again',
      )
      return null
    })
  if (found === null) {
    context.pool.owned.delete(machineId)
    return false
  }
  await freeMachine(context, machineId, found)
  return !context.records.pool.has(machineId)
}
