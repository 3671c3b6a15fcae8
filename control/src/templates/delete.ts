import { AtollError } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { TemplateRow } from '../store/tables.ts'
import { findTemplate } from './resolve.ts'

/** Forgets a template; its image goes when nothing else stands on it. */
export const deleteTemplate = async (
  context: Context,
  caller: Caller,
  name: string,
): Promise<{ id: string; imageDeleted: boolean }> => {
  const row = await findTemplate(context, caller, name)
  if (row.project === '' && !caller.scopes.has('admin'))
    throw new AtollError('forbidden', `cannot delete template ${row.name}: it is shared; an admin key can`)
  const running = await context.db
    .selectFrom('sandboxes')
    .select('id')
    .where('image_digest', '=', row.image_digest)
    .where('state', '!=', 'ended')
    .executeTakeFirst()
  if (running !== undefined) {
    const message = `cannot delete template ${row.name}: a sandbox stands on it; delete that first`
    // Another project's sandbox is not named: that it exists is not this caller's to know.
    throw row.project === caller.project
      ? new AtollError('in_use', message, { details: { sandbox: running.id } })
      : new AtollError('in_use', message)
  }
  await refuseSaved(context, caller, row)
  await context.db.deleteFrom('templates').where('id', '=', row.id).execute()
  return { id: row.id, imageDeleted: await deleteImage(context, row.image_digest) }
}

/** A snapshot holds what differs from its template's image: without that image it is nothing. */
const refuseSaved = async (context: Context, caller: Caller, row: TemplateRow): Promise<void> => {
  const saved = await context.db
    .selectFrom('snapshots')
    .select(['id', 'project'])
    .where('image_digest', '=', row.image_digest)
    .executeTakeFirst()
  if (saved === undefined) return
  throw new AtollError(
    'in_use',
    `cannot delete template ${row.name}: a snapshot stands on it; delete that first`,
    saved.project === caller.project ? { details: { snapshot: saved.id } } : {},
  )
}

const deleteImage = async (context: Context, digest: string): Promise<boolean> => {
  const other = await context.db
    .selectFrom('templates')
    .select('id')
    .where('image_digest', '=', digest)
    .executeTakeFirst()
  if (other !== undefined) return false
  try {
    await context.node.deleteImage(digest)
    return true
  } catch (error) {
    if (error instanceof AtollError && (error.code === 'in_use' || error.code === 'not_found')) return false
    throw error
  }
}
