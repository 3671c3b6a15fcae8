import { makeId } from '@atoll/protocol'
import type { Context } from '../machines/context.ts'
import { machineLimits } from '../machines/limits.ts'
import { removeDirectory } from '../machines/remove-directory.ts'
import { claimDirectory, directoryOf } from '../machines/sandbox-directory.ts'
import type { Machine, MachineRecord } from '../runtimes/driver.ts'
import { keyText, type MachineKey } from './state.ts'

/** A place for a machine: id, slot of user ids and folder, recorded before anything of it exists. */
export interface Begun {
  readonly machineId: string
  readonly slot: number
  readonly directory: string
}

/** Length of the random part of an id, bytes. */
const idBytes = 20

/** The durable intent of a new machine: after a crash its row leads to all that was made of it. */
export const beginMachine = async (context: Context, key: MachineKey): Promise<Begun> => {
  const machineId = makeId('sbx', context.random(idBytes))
  context.pool.owned.add(machineId)
  const slot = context.records.atomicUntilReboot(() => {
    const free = context.records.sandboxes.freeSlot()
    context.records.pool.insert({
      machineId,
      role: 'begun',
      key: keyText(key),
      runtime: key.runtime,
      slot: free,
      machine: null,
      bootId: context.bootId,
      createdAtMs: context.clock.now(),
    })
    return free
  })
  try {
    await claimDirectory(context, { id: machineId, runtime: key.runtime })
  } catch (error) {
    await freeMachine(context, machineId)
    throw error
  }
  return { machineId, slot, directory: directoryOf(context, machineId) }
}

/** Records what runs now in a place that was begun. */
export const settleMachine = (
  context: Context,
  machineId: string,
  role: 'begun' | 'ready' | 'blank',
  machine: MachineRecord,
): void => void context.records.atomicUntilReboot(() => context.records.pool.settle(machineId, role, machine))

/**
 * Frees a machine that no sandbox's record names: does nothing for one that was claimed. What cannot be freed
 * now stays in the records, and the pool's ticker tries again.
 */
export const freeMachine = async (
  context: Context,
  machineId: string,
  machine?: Pick<Machine, 'destroy'>,
): Promise<void> => {
  if (!context.records.pool.has(machineId)) return void context.pool.owned.delete(machineId)
  try {
    await machine?.destroy(AbortSignal.timeout(machineLimits.teardownMs))
    await removeDirectory(directoryOf(context, machineId))
    context.records.atomicUntilReboot(() => context.records.pool.remove(machineId))
  } catch (error) {
    context.logger.error(
      { machine: machineId, err: error },
      'a machine could not be freed and will be tried again',
    )
  } finally {
    context.pool.owned.delete(machineId)
  }
}
