import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Pauses with their depth, identities with their generation, and snapshots. */
export const snapshots: Migration = {
  async up(db: Kysely<unknown>) {
    await sandboxColumns(db)
    await db.schema
      .createTable('snapshots')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('project', 'text', (column) => column.notNull().references('projects.id'))
      .addColumn('node', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('name', 'text')
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('digest', 'text', (column) => column.notNull())
      // No reference: a snapshot outlives its sandbox, and the tombstone of it.
      .addColumn('sandbox', 'text', (column) => column.notNull())
      .addColumn('parent', 'text')
      .addColumn('template', 'text', (column) => column.notNull())
      .addColumn('image_digest', 'text', (column) => column.notNull())
      .addColumn('isolation', 'text', (column) => column.notNull())
      .addColumn('limits', 'text', (column) => column.notNull())
      .addColumn('user', 'text', (column) => column.notNull())
      .addColumn('workdir', 'text', (column) => column.notNull())
      .addColumn('size_bytes', 'bigint', (column) => column.notNull())
      .addColumn('paused_ms', 'double precision', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('created_by', 'text', (column) => column.notNull())
      .addUniqueConstraint('snapshots_name', ['project', 'name'])
      .execute()
    await db.schema
      .createIndex('snapshots_page')
      .on('snapshots')
      .columns(['project', 'created_at_ms', 'id'])
      .execute()
    await db.schema.createIndex('snapshots_image').on('snapshots').column('image_digest').execute()
  },
}

/** SQLite adds one column at a time. */
const sandboxColumns = async (db: Kysely<unknown>): Promise<void> => {
  const alter = () => db.schema.alterTable('sandboxes')
  const hour = 3_600_000
  await alter()
    .addColumn('timeout_ms', 'bigint', (column) => column.notNull().defaultTo(hour))
    .execute()
  await alter()
    .addColumn('auto_resume', 'integer', (column) => column.notNull().defaultTo(1))
    .execute()
  await alter().addColumn('depth', 'text').execute()
  await alter()
    .addColumn('generation', 'integer', (column) => column.notNull().defaultTo(1))
    .execute()
  await alter().addColumn('snapshot', 'text').execute()
  await alter().addColumn('parent', 'text').execute()
}
