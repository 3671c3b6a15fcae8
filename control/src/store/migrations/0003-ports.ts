import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Ports whose settings are not the default. */
export const ports: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('ports')
      .addColumn('sandbox', 'text', (column) =>
        column.notNull().references('sandboxes.id').onDelete('cascade'),
      )
      .addColumn('port', 'integer', (column) => column.notNull())
      .addColumn('access', 'text', (column) => column.notNull())
      .addColumn('mask_host', 'integer', (column) => column.notNull())
      .addPrimaryKeyConstraint('ports_key', ['sandbox', 'port'])
      .execute()
  },
}
