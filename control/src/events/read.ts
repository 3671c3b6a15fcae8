import { eventSchema, type SandboxEvent } from '@atoll/protocol'
import type { Context } from '../context.ts'

/** One page of a sandbox's log after a cursor, oldest first. */
export const readEvents = async (
  context: Context,
  sandbox: string,
  after: number,
): Promise<readonly SandboxEvent[]> => {
  const rows = await context.db
    .selectFrom('events')
    .selectAll()
    .where('sandbox', '=', sandbox)
    .where('seq', '>', after)
    .orderBy('seq')
    .limit(context.limits.eventPageCount)
    .execute()
  return rows.map((row) =>
    eventSchema.parse({
      seq: row.seq,
      atMs: row.at_ms,
      sandbox: row.sandbox,
      type: row.type,
      data: JSON.parse(row.data),
    }),
  )
}
