import type { Updateable } from 'kysely'
import type { Context } from '../context.ts'
import { appendEvent, type NewEvent } from '../events/append.ts'
import type { SandboxRow } from '../store/tables.ts'

/** What a transition may change; version and event counter are its own business. */
export type Change = Omit<Updateable<SandboxRow>, 'id' | 'version' | 'event_seq'>

/**
 * Compare-and-set on the version, with its event in the same transaction. Undefined: someone else was
 * first, and the caller reads again.
 */
export const transition = async (
  context: Context,
  row: SandboxRow,
  change: Change,
  event: NewEvent,
): Promise<SandboxRow | undefined> => {
  const after = await context.db.transaction().execute(async (trx) => {
    const updated = await trx
      .updateTable('sandboxes')
      .set({ ...change, version: row.version + 1 })
      .where('id', '=', row.id)
      .where('version', '=', row.version)
      .returningAll()
      .executeTakeFirst()
    if (updated === undefined) return undefined
    await appendEvent(trx, row.id, event, context.limits)
    return updated
  })
  if (after === undefined) return undefined
  context.owners.forget(row.id)
  context.hub.notify(row.id)
  return after
}
