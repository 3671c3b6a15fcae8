import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { findMachine } from './find-machine.ts'
import { machineLimits } from './limits.ts'
import { recordOf } from './present.ts'
import { removeDirectory } from './remove-directory.ts'
import { directoryOf } from './sandbox-directory.ts'
import { transition } from './transition.ts'

/**
 * Frees the machine that a record still names although its state is on disk: after the record says so, since
 * what is destroyed cannot be taken back. What cannot be freed now the ticker tries again.
 */
export const releaseMachine = async (context: Context, id: string): Promise<void> => {
  const record = recordOf(context, id)
  const { machineId } = record
  if (machineId === null || !isAside(record)) return
  const live = context.live.get(id)
  context.live.delete(id)
  try {
    const machine = live?.machine ?? (await findMachine(context, record))
    await machine?.destroy(AbortSignal.timeout(machineLimits.teardownMs))
    await removeDirectory(directoryOf(context, machineId))
  } catch (error) {
    context.logger.error({ sandbox: id, err: error }, 'a machine could not be freed and will be tried again')
    return
  }
  const now = recordOf(context, id)
  if (now.machineId === machineId && isAside(now))
    transition(context, now, { machine: null, machineId: null, slot: null })
}

/** True for a record whose state is saved: its machine, if it still names one, is nobody's. */
export const isAside = ({ state, depth, saved }: SandboxRecord): boolean =>
  saved !== null && ((state === 'paused' && depth === 'stored') || state === 'stopped')
