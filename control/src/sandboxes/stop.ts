import type { Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'

/** Keeps the disk and frees the rest. */
export const stopSandbox = async (context: Context, caller: Caller, id: string): Promise<Sandbox> => {
  const row = await findSandbox(context, caller, id)
  refuseEnded(row, 'stop')
  const seen = await context.node.stop(id, caller.key)
  await recordAct(context, caller, id, 'stop')
  return viewSandbox(await applySeen(context, row, seen))
}
