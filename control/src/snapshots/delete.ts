import { AtollError } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import type { SnapshotRow } from '../store/tables.ts'
import { findOwnSnapshot } from './find.ts'

/** Frees a snapshot's files; sandboxes that were made from it go on. */
export const deleteSnapshot = async (
  context: Context,
  caller: Caller,
  id: string,
): Promise<{ id: string; freedBytes: number }> => {
  const row = await findOwnSnapshot(context, caller, id)
  if (row.state === 'creating')
    throw new AtollError(
      'state_conflict',
      `cannot delete snapshot ${id}: it is still being made; try again once it is there`,
      { retryable: true },
    )
  const freedBytes = await removeSnapshot(context, row)
  await recordAct(context, caller, row.sandbox, 'delete_snapshot', { snapshot: id, freedBytes })
  return { id, freedBytes }
}

/** Marks it, frees the files, forgets the record: what stops in between is finished later. */
export const removeSnapshot = async (context: Context, row: SnapshotRow): Promise<number> => {
  await context.db
    .updateTable('snapshots')
    // Its name is free at once: what is left of it is nobody's but ours.
    .set({ state: 'deleting', name: null })
    .where('id', '=', row.id)
    .execute()
  const freedBytes = await askFree(context, row.id)
  await context.db.deleteFrom('snapshots').where('id', '=', row.id).execute()
  return freedBytes
}

const askFree = async (context: Context, id: string): Promise<number> => {
  try {
    return (await context.node.deleteSnapshot(id)).freedBytes
  } catch (error) {
    if (error instanceof AtollError && error.code === 'not_found') return 0
    throw error
  }
}
