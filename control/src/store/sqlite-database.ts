import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { SqliteDatabase, SqliteStatement } from 'kysely'
import { isUntilReboot } from './until-reboot.ts'

/** Prepared statements that are kept; the text of our queries is a small closed set. */
const statementsKept = 256

/** Kysely's SQLite port over `node:sqlite`: no native addon to build or to trust. */
export const sqliteDatabase = (path: string): SqliteDatabase => {
  const database = new DatabaseSync(path, { timeout: 5_000 })
  // FULL: a committed intent survives loss of power; in WAL mode that is one fsync for each commit.
  database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on')
  const kept = new Map<string, SqliteStatement>()
  const durably = durability(database)
  return {
    close: () => database.close(),
    prepare(sql) {
      const found = kept.get(sql)
      if (found !== undefined) return found
      const statement = durably(adapt(database.prepare(sql)))
      if (kept.size < statementsKept) kept.set(sql, statement)
      return statement
    },
  }
}

/**
 * Sets how durable a transaction's commit is before it begins, since SQLite changes nothing within one; a write
 * outside of transactions is one by itself. Calls are synchronous and Kysely lends the one connection to one
 * transaction at a time, so that nobody else's commit falls between.
 */
const durability = (database: DatabaseSync) => {
  let isFull = true
  const setFull = (wanted: boolean): void => {
    if (isFull === wanted) return
    database.exec(`pragma synchronous = ${wanted ? 'full' : 'normal'}`)
    isFull = wanted
  }
  return (statement: SqliteStatement): SqliteStatement => ({
    ...statement,
    all: (parameters) => {
      if (!database.isTransaction) setFull(!isUntilReboot())
      return statement.all(parameters)
    },
    run: (parameters) => {
      if (!database.isTransaction) setFull(!isUntilReboot())
      return statement.run(parameters)
    },
  })
}

const adapt = (statement: StatementSync): SqliteStatement => ({
  reader: statement.columns().length > 0,
  all: (parameters) => statement.all(...values(parameters)),
  run: (parameters) => statement.run(...values(parameters)),
  iterate: (parameters) => statement.iterate(...values(parameters)),
})

const values = (parameters: readonly unknown[]): SQLInputValue[] => parameters.map(value)

const value = (parameter: unknown): SQLInputValue => {
  if (parameter === null || parameter === undefined) return null
  if (typeof parameter === 'string' || typeof parameter === 'number' || typeof parameter === 'bigint')
    return parameter
  if (typeof parameter === 'boolean') return parameter ? 1 : 0
  if (parameter instanceof Uint8Array) return parameter
  throw new TypeError(`cannot bind a ${typeof parameter} to a statement: give text, a number or bytes`)
}
