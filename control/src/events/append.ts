import type { Transaction } from 'kysely'
import type { ControlLimits } from '../limits.ts'
import type { Tables } from '../store/tables.ts'

/** Something that happened to a sandbox, before it has its place in the log. */
export interface NewEvent {
  readonly type: string
  readonly atMs: number
  readonly data: Readonly<Record<string, unknown>>
}

/**
 * Appends to a sandbox's log inside the caller's transaction. The place comes from a counter in the
 * sandbox's own row: its lock orders writers, in SQLite and in Postgres alike.
 */
export const appendEvent = async (
  trx: Transaction<Tables>,
  sandbox: string,
  event: NewEvent,
  limits: Pick<ControlLimits, 'eventsKept' | 'eventDataBytes'>,
): Promise<void> => {
  const row = await trx
    .updateTable('sandboxes')
    .set((eb) => ({ event_seq: eb('event_seq', '+', 1) }))
    .where('id', '=', sandbox)
    .returning('event_seq')
    .executeTakeFirst()
  if (row === undefined) return
  const data = bounded(event.data, limits.eventDataBytes)
  await trx
    .insertInto('events')
    .values({ sandbox, seq: row.event_seq, at_ms: event.atMs, type: event.type.slice(0, 128), data })
    .execute()
  if (row.event_seq > limits.eventsKept)
    await trx
      .deleteFrom('events')
      .where('sandbox', '=', sandbox)
      .where('seq', '<=', row.event_seq - limits.eventsKept)
      .execute()
}

const bounded = (data: Readonly<Record<string, unknown>>, maxBytes: number): string => {
  const text = JSON.stringify(data)
  return Buffer.byteLength(text) <= maxBytes ? text : JSON.stringify({ dropped: `over ${maxBytes} bytes` })
}
