import type { DatabaseSync } from 'node:sqlite'
import type { Holder } from '@atoll/protocol'

/** Clients' leases: holders that outlive connections and the daemon. */
export const leaseRecords = (database: DatabaseSync) => {
  const put = database.prepare(
    `INSERT INTO leases (sandbox, name, since_ms, until_ms) VALUES (?, ?, ?, ?)
     ON CONFLICT (sandbox, name) DO UPDATE SET until_ms = excluded.until_ms`,
  )
  const remove = database.prepare('DELETE FROM leases WHERE sandbox = ? AND name = ?')
  const clear = database.prepare('DELETE FROM leases WHERE sandbox = ?')
  const count = database.prepare('SELECT count(*) AS count FROM leases WHERE sandbox = ?')
  const living = database.prepare(
    'SELECT name, since_ms, until_ms FROM leases WHERE sandbox = ? AND until_ms > ? ORDER BY since_ms, name',
  )
  const lastEnd = database.prepare('SELECT max(until_ms) AS until FROM leases WHERE sandbox = ?')
  const expire = database.prepare('DELETE FROM leases WHERE sandbox = ? AND until_ms <= ?')
  return {
    put: (sandbox: string, name: string, sinceMs: number, untilMs: number): void =>
      void put.run(sandbox, name, sinceMs, untilMs),
    /** True when it was there. */
    remove: (sandbox: string, name: string): boolean => remove.run(sandbox, name).changes === 1,
    clear: (sandbox: string): void => void clear.run(sandbox),
    count: (sandbox: string): number => Number(count.get(sandbox)?.['count']),
    living: (sandbox: string, nowMs: number): Holder[] =>
      living.all(sandbox, nowMs).map((row) => ({
        kind: 'lease',
        name: String(row['name']),
        sinceMs: Number(row['since_ms']),
        untilMs: Number(row['until_ms']),
      })),
    /** When the last lease ran or runs out; 0 when there is none. */
    lastEndMs: (sandbox: string): number => Number(lastEnd.get(sandbox)?.['until'] ?? 0),
    expire: (sandbox: string, nowMs: number): void => void expire.run(sandbox, nowMs),
  }
}
