import type { Sandbox, SandboxState } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { makeCursor, readCursor } from './cursor.ts'
import { viewSandbox } from './view.ts'

export interface ListFilter {
  readonly project: string
  readonly state: SandboxState | undefined
  readonly name: string | undefined
  readonly template: string | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly cursor: string | undefined
  readonly limit: number
}

/** Sandboxes of a project, newest first. States are those of the last event or probe; ended ones only when asked. */
export const listSandboxes = async (
  context: Context,
  filter: ListFilter,
): Promise<{ sandboxes: Sandbox[]; nextCursor: string | null }> => {
  let query = context.db.selectFrom('sandboxes').selectAll().where('project', '=', filter.project)
  query =
    filter.state === undefined ? query.where('state', '!=', 'ended') : query.where('state', '=', filter.state)
  if (filter.name !== undefined) query = query.where('name', '=', filter.name)
  if (filter.template !== undefined) query = query.where('template', '=', filter.template)
  for (const [key, value] of Object.entries(filter.labels))
    query = query.where('id', 'in', (eb) =>
      eb.selectFrom('labels').select('sandbox').where('key', '=', key).where('value', '=', value),
    )
  if (filter.cursor !== undefined) {
    const { atMs, id } = readCursor(filter.cursor, 'sbx')
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
  const nextCursor =
    rows.length > filter.limit && last !== undefined ? makeCursor(last.created_at_ms, last.id) : null
  return { sandboxes: page.map(viewSandbox), nextCursor }
}
