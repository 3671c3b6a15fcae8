import { AtollError, type ImageConfig, imageConfigSchema } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { TemplateRow } from '../store/tables.ts'
import { baseName } from './base.ts'

export interface ResolvedTemplate {
  readonly name: string
  readonly imageDigest: string
  readonly config: ImageConfig
}

/** A template by name or id: the project's own before the shared one. */
export const resolveTemplate = async (
  context: Context,
  caller: Caller,
  name: string,
): Promise<ResolvedTemplate> => {
  if (name === baseName) await context.base.ready()
  const row = await findTemplate(context, caller, name)
  return {
    name: row.name,
    imageDigest: row.image_digest,
    config: imageConfigSchema.parse(JSON.parse(row.config)),
  }
}

/** The row of a template that the caller may see. */
export const findTemplate = async (context: Context, caller: Caller, name: string): Promise<TemplateRow> => {
  const rows = await context.db
    .selectFrom('templates')
    .selectAll()
    .where('project', 'in', [caller.project, ''])
    .where((eb) => eb.or([eb('name', '=', name), eb('id', '=', name)]))
    .orderBy('project', 'desc')
    .limit(1)
    .execute()
  const row = rows[0]
  if (row !== undefined) return row
  throw new AtollError(
    'not_found',
    `cannot find template ${name}: this project has none of that name; build it with POST /v1/templates/builds, or list templates`,
  )
}
