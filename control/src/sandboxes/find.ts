import { AtollError, endedSchema } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { SandboxRow } from '../store/tables.ts'

/** The refusal for a sandbox that is not there, and for another project's: which of both is not told. */
export const noSandbox = (id: string): AtollError =>
  new AtollError(
    'not_found',
    `cannot find sandbox ${id}: this project never had it; list sandboxes to see its own`,
  )

/** The row of a sandbox that the caller may see. */
export const findSandbox = async (context: Context, caller: Caller, id: string): Promise<SandboxRow> => {
  const row = await readSandbox(context, id)
  if (row === undefined) throw noSandbox(id)
  if (row.project !== caller.project && !caller.scopes.has('admin')) throw noSandbox(id)
  return row
}

/** The row of a sandbox, whoever asks. */
export const readSandbox = (context: Context, id: string): Promise<SandboxRow | undefined> =>
  context.db.selectFrom('sandboxes').selectAll().where('id', '=', id).executeTakeFirst()

/** The refusal for a sandbox that ended, with its cause (invariant 2). */
export const sandboxEnded = (id: string, act: string, ended: unknown): AtollError => {
  const parsed = endedSchema.safeParse(ended)
  const why = parsed.success ? `${parsed.data.cause}: ${parsed.data.message}` : 'cause not recorded'
  return new AtollError(
    'sandbox_ended',
    `cannot ${act} sandbox ${id}: it ended (${why}); create another one`,
    {
      sandboxState: 'ended',
      ...(parsed.success ? { details: { ended: parsed.data } } : {}),
    },
  )
}

/** Refuses what needs a sandbox that has not ended. */
export const refuseEnded = (row: SandboxRow, act: string): void => {
  if (row.state !== 'ended') return
  throw sandboxEnded(row.id, act, row.ended === null ? null : JSON.parse(row.ended))
}
