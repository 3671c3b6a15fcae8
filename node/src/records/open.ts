import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AtollError } from '@atoll/protocol'
import { eventRecords } from './events.ts'
import { leaseRecords } from './leases.ts'
import { migrations } from './migrations.ts'
import { poolRecords } from './pool.ts'
import { sandboxRecords } from './sandboxes.ts'
import { snapshotRecords } from './snapshots.ts'

/** How long a writer waits for another process's lock (a backup's, say), ms. */
const busyTimeoutMs = 5_000

/** node.db: the authority for this node's sandboxes. */
export type Records = ReturnType<typeof openRecords>

/**
 * Opens `node.db` in the data folder and brings it up to date.
 *
 * Calls are synchronous: a row costs microseconds, a commit one fsync, and compare-and-set needs no lock.
 */
export const openRecords = (dataFolder: string) => {
  const path = join(dataFolder, 'node.db')
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
  try {
    chmodSync(path, 0o600)
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
    migrate(database, path)
  } catch (error) {
    database.close()
    throw error
  }
  return {
    sandboxes: sandboxRecords(database),
    leases: leaseRecords(database),
    events: eventRecords(database),
    snapshots: snapshotRecords(database),
    pool: poolRecords(database),
    meta: metaRecords(database),
    /** One transaction: all or nothing, one fsync. Does not nest. */
    atomic: <Result>(work: () => Result): Result => atomic(database, work),
    /**
     * One transaction that outlives the daemon, not a power cut: for what a power cut ends anyway, like the
     * machines of the pool. No fsync: on a busy disk one costs tens of ms, and the whole daemon waits.
     */
    atomicUntilReboot: <Result>(work: () => Result): Result => {
      database.exec('PRAGMA synchronous = NORMAL')
      try {
        return atomic(database, work)
      } finally {
        database.exec('PRAGMA synchronous = FULL')
      }
    },
    close: () => database.close(),
  }
}

const atomic = <Result>(database: DatabaseSync, work: () => Result): Result => {
  database.exec('BEGIN IMMEDIATE')
  try {
    const result = work()
    database.exec('COMMIT')
    return result
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

const migrate = (database: DatabaseSync, path: string): void => {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version'])
  if (version > migrations.length)
    throw new AtollError(
      'internal',
      `cannot open ${path}: it has version ${version}, this build knows up to ${migrations.length}; start the newer build`,
      { retryable: false },
    )
  for (const [index, sql] of migrations.entries()) {
    if (index < version) continue
    atomic(database, () => database.exec(`${sql}; PRAGMA user_version = ${index + 1}`))
  }
}

const metaRecords = (database: DatabaseSync) => {
  const read = database.prepare('SELECT value FROM meta WHERE name = ?')
  const write = database.prepare(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
  )
  return {
    get: (name: string): string | undefined => {
      const value = read.get(name)?.['value']
      return typeof value === 'string' ? value : undefined
    },
    set: (name: string, value: string): void => void write.run(name, value),
  }
}
