import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** The first shape of the database. */
export const first: Migration = {
  async up(db: Kysely<unknown>) {
    await identity(db)
    await sandboxes(db)
    await templates(db)
    await db.schema
      .createTable('cursors')
      .addColumn('node', 'text', (column) => column.primaryKey())
      .addColumn('seq', 'bigint', (column) => column.notNull())
      .execute()
    await db.schema
      .createTable('answers')
      .addColumn('project', 'text', (column) => column.notNull())
      .addColumn('key', 'text', (column) => column.notNull())
      .addColumn('parameters', 'text', (column) => column.notNull())
      .addColumn('subject', 'text')
      .addColumn('status', 'integer')
      .addColumn('body', 'text')
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addPrimaryKeyConstraint('answers_key', ['project', 'key'])
      .execute()
    await db.schema.createIndex('answers_age').on('answers').column('created_at_ms').execute()
  },
}

const identity = async (db: Kysely<unknown>): Promise<void> => {
  await db.schema
    .createTable('projects')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('quota_sandboxes', 'integer', (column) => column.notNull())
    .addColumn('quota_cpu_millis', 'bigint', (column) => column.notNull())
    .addColumn('quota_memory_mib', 'bigint', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .execute()
  await db.schema
    .createTable('keys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('project', 'text', (column) => column.notNull().references('projects.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull())
    .addColumn('scopes', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('last_used_at_ms', 'bigint')
    .addColumn('revoked_at_ms', 'bigint')
    .execute()
}

const sandboxes = async (db: Kysely<unknown>): Promise<void> => {
  await db.schema
    .createTable('sandboxes')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('project', 'text', (column) => column.notNull().references('projects.id'))
    .addColumn('name', 'text')
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('event_seq', 'bigint', (column) => column.notNull())
    .addColumn('template', 'text', (column) => column.notNull())
    .addColumn('image_digest', 'text', (column) => column.notNull())
    .addColumn('isolation', 'text', (column) => column.notNull())
    .addColumn('limits', 'text', (column) => column.notNull())
    .addColumn('cpu_millis', 'integer', (column) => column.notNull())
    .addColumn('memory_mib', 'integer', (column) => column.notNull())
    .addColumn('labels', 'text', (column) => column.notNull())
    .addColumn('user', 'text', (column) => column.notNull())
    .addColumn('workdir', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('expires_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('on_timeout', 'text', (column) => column.notNull())
    .addColumn('idle', 'text')
    .addColumn('on_host_lost', 'text', (column) => column.notNull())
    .addColumn('ended', 'text')
    .addColumn('ended_at_ms', 'bigint')
    .addColumn('timings', 'text', (column) => column.notNull())
    .execute()
  await db.schema
    .createIndex('sandboxes_page')
    .on('sandboxes')
    .columns(['project', 'created_at_ms', 'id'])
    .execute()
  await db.schema.createIndex('sandboxes_state').on('sandboxes').columns(['project', 'state']).execute()
  await db.schema.createIndex('sandboxes_ended').on('sandboxes').column('ended_at_ms').execute()
  await db.schema
    .createTable('labels')
    .addColumn('sandbox', 'text', (column) => column.notNull().references('sandboxes.id').onDelete('cascade'))
    .addColumn('key', 'text', (column) => column.notNull())
    .addColumn('value', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('labels_key', ['sandbox', 'key'])
    .execute()
  await db.schema
    .createTable('events')
    .addColumn('sandbox', 'text', (column) => column.notNull().references('sandboxes.id').onDelete('cascade'))
    .addColumn('seq', 'bigint', (column) => column.notNull())
    .addColumn('at_ms', 'bigint', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('data', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('events_key', ['sandbox', 'seq'])
    .execute()
}

const templates = async (db: Kysely<unknown>): Promise<void> => {
  await db.schema
    .createTable('templates')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('project', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('image_digest', 'text', (column) => column.notNull())
    .addColumn('size_bytes', 'bigint', (column) => column.notNull())
    .addColumn('config', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
    .addUniqueConstraint('templates_name', ['project', 'name'])
    .execute()
  await db.schema
    .createTable('builds')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('project', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('template', 'text')
    .addColumn('error', 'text')
    .addColumn('started_at_ms', 'bigint', (column) => column.notNull())
    .addColumn('ended_at_ms', 'bigint')
    .execute()
  await db.schema
    .createTable('build_events')
    .addColumn('build', 'text', (column) => column.notNull().references('builds.id').onDelete('cascade'))
    .addColumn('seq', 'integer', (column) => column.notNull())
    .addColumn('data', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('build_events_key', ['build', 'seq'])
    .execute()
}
