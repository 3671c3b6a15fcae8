import type { DatabaseSync } from 'node:sqlite'
import type { NodeEvent } from '@atoll/protocol'

/** Events that are kept, oldest forgotten first: a reader that is further behind asks for the sandboxes instead. */
export const eventsKept = 100_000
/** Most that one answer holds. */
export const eventsPerAnswer = 1_000

/** The node's log: `seq` grows by one and survives restarts, since AUTOINCREMENT never reuses a number. */
export const eventRecords = (database: DatabaseSync) => {
  const insert = database.prepare('INSERT INTO events (at_ms, sandbox, type, data) VALUES (?, ?, ?, ?)')
  const after = database.prepare('SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?')
  const trim = database.prepare('DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?')
  return {
    append: (event: Omit<NodeEvent, 'seq'>): NodeEvent => {
      const { lastInsertRowid } = insert.run(
        event.atMs,
        event.sandbox,
        event.type,
        JSON.stringify(event.data),
      )
      return { ...event, seq: Number(lastInsertRowid) }
    },
    after: (seq: number, count: number): NodeEvent[] =>
      after.all(seq, Math.max(0, Math.min(count, eventsPerAnswer))).map((row) => ({
        seq: Number(row['seq']),
        atMs: Number(row['at_ms']),
        sandbox: String(row['sandbox']),
        type: String(row['type']),
        data: JSON.parse(String(row['data'])),
      })),
    trim: (): number => Number(trim.run(eventsKept).changes),
  }
}
