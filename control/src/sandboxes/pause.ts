import type { PauseDepth, Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'

/** Keeps memory and processes as they are: `frozen` in memory, `stored` on disk. */
export const pauseSandbox = async (
  context: Context,
  caller: Caller,
  id: string,
  depth: PauseDepth,
): Promise<Sandbox> => {
  const row = await findSandbox(context, caller, id)
  refuseEnded(row, 'pause')
  try {
    const seen = await context.node.pause(id, depth, caller.key)
    await recordAct(context, caller, id, 'pause', { depth })
    return viewSandbox(await applySeen(context, row, seen))
  } catch (error) {
    // What it is after a pause that failed is the node's to say, before anyone reads the record.
    await probe(context, await findSandbox(context, caller, id))
    throw error
  }
}
