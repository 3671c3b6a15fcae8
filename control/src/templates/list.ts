import type { Template } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { viewTemplate } from './view.ts'

/** A page of the project's own templates and the shared ones, by id. */
export const listTemplates = async (
  context: Context,
  caller: Caller,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<{ templates: Template[]; nextCursor: string | null }> => {
  const rows = await context.db
    .selectFrom('templates')
    .selectAll()
    .where('project', 'in', [caller.project, ''])
    .where('id', '>', page.cursor ?? '')
    .orderBy('id')
    .limit(page.limit + 1)
    .execute()
  const shown = rows.slice(0, page.limit)
  const nextCursor = rows.length > page.limit ? (shown.at(-1)?.id ?? null) : null
  return { templates: shown.map(viewTemplate), nextCursor }
}
