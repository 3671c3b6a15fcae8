import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { Kysely, SqliteDialect } from 'kysely'
import { Migrator } from 'kysely/migration'
import { first } from './migrations/0001-first.ts'
import { snapshots } from './migrations/0002-snapshots.ts'
import { ports } from './migrations/0003-ports.ts'
import { sqliteDatabase } from './sqlite-database.ts'
import type { Tables } from './tables.ts'

export type Database = Kysely<Tables>

/** Opens `atoll.db` in the data folder and brings it to the newest shape. */
export const openStore = async (dataFolder: string): Promise<Database> => {
  await mkdir(dataFolder, { recursive: true, mode: 0o700 })
  const path = join(dataFolder, 'atoll.db')
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: sqliteDatabase(path) }) })
  await chmod(path, 0o600)
  const migrations = { '0001-first': first, '0002-snapshots': snapshots, '0003-ports': ports }
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } })
  const { error } = await migrator.migrateToLatest()
  if (error === undefined) return db
  await db.destroy()
  throw new AtollError(
    'internal',
    `cannot bring ${path} to the newest shape: restore a copy of it, or move it away`,
    {
      cause: error,
    },
  )
}
