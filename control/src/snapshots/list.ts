import type { Snapshot } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { makeCursor, readCursor } from '../sandboxes/cursor.ts'
import { viewSnapshot } from './view.ts'

export interface SnapshotFilter {
  readonly project: string
  readonly name: string | undefined
  readonly sandbox: string | undefined
  readonly cursor: string | undefined
  readonly limit: number
}

/** Snapshots of a project, newest first. */
export const listSnapshots = async (
  context: Context,
  filter: SnapshotFilter,
): Promise<{ snapshots: Snapshot[]; nextCursor: string | null }> => {
  let query = context.db
    .selectFrom('snapshots')
    .selectAll()
    .where('project', '=', filter.project)
    .where('state', '=', 'ready')
  if (filter.name !== undefined) query = query.where('name', '=', filter.name)
  if (filter.sandbox !== undefined) query = query.where('sandbox', '=', filter.sandbox)
  if (filter.cursor !== undefined) {
    const { atMs, id } = readCursor(filter.cursor, 'snp')
    query = query.where((eb) =>
      eb.or([eb('created_at_ms', '<', atMs), eb.and([eb('created_at_ms', '=', atMs), eb('id', '<', id)])]),
    )
  }
  const rows = await query
    .orderBy('created_at_ms', 'desc')
    .orderBy('id', 'desc')
    .limit(filter.limit + 1)
    .execute()
  const page = rows.slice(0, filter.limit)
  const last = page.at(-1)
  const more = rows.length > filter.limit && last !== undefined
  return {
    snapshots: page.map(viewSnapshot),
    nextCursor: more ? makeCursor(last.created_at_ms, last.id) : null,
  }
}
