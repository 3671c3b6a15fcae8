import { AtollError } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { SnapshotRow } from '../store/tables.ts'

/** The row of a snapshot that the caller may see. One that is still being made, or deleted, is not there. */
export const findSnapshot = async (context: Context, caller: Caller, id: string): Promise<SnapshotRow> => {
  const row = await findOwnSnapshot(context, caller, id)
  if (row.state === 'ready' || row.state === 'lost') return row
  throw noSnapshot(id)
}

/** The same, with its files on the node as far as control knows. */
export const findReadySnapshot = async (
  context: Context,
  caller: Caller,
  id: string,
): Promise<SnapshotRow> => {
  const row = await findSnapshot(context, caller, id)
  if (row.state === 'ready') return row
  throw new AtollError(
    'snapshot_invalid',
    `cannot use snapshot ${id}: the node has no files of it any more; delete it, and make another one`,
  )
}

/** The row of a snapshot of the caller's project, whatever its state. */
export const findOwnSnapshot = async (context: Context, caller: Caller, id: string): Promise<SnapshotRow> => {
  const row = await readSnapshot(context, id)
  if (row === undefined) throw noSnapshot(id)
  if (row.project !== caller.project && !caller.scopes.has('admin')) throw noSnapshot(id)
  return row
}

/** The row of a snapshot, whoever asks. */
export const readSnapshot = (context: Context, id: string): Promise<SnapshotRow | undefined> =>
  context.db.selectFrom('snapshots').selectAll().where('id', '=', id).executeTakeFirst()

const noSnapshot = (id: string): AtollError =>
  new AtollError('not_found', `cannot find snapshot ${id}: this project has none of that id; list snapshots`)
