import {
  AtollError,
  type CreatedKey,
  createdKeySchema,
  type createKeySchema,
  type Key,
  keySchema,
  makeId,
} from '@atoll/protocol'
import type { z } from 'zod'
import type { Caller, Context } from '../context.ts'
import type { KeyRow } from '../store/tables.ts'
import { hashKey, keyText } from './secret.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'random'>

/** Makes a key; its text is in this answer and nowhere else. */
export const makeKey = async (
  deps: Deps,
  project: string,
  name: string,
  scopes: readonly string[],
): Promise<CreatedKey> => {
  const id = makeId('key', deps.random(20))
  const secret = keyText(id, deps.random(32))
  const row: KeyRow = {
    id,
    project,
    name,
    hash: hashKey(secret).toString('hex'),
    scopes: JSON.stringify([...new Set(scopes)]),
    created_at_ms: deps.clock.now(),
    last_used_at_ms: null,
    revoked_at_ms: null,
  }
  await deps.db.insertInto('keys').values(row).execute()
  return createdKeySchema.parse({ ...viewKey(row), secret })
}

/** Makes a key for a caller: never for more than the caller has, nor for another project (but admin). */
export const createKey = async (
  context: Context,
  caller: Caller,
  input: z.infer<typeof createKeySchema>,
): Promise<CreatedKey> => {
  const admin = caller.scopes.has('admin')
  const project = input.project ?? caller.project
  if (!admin) {
    if (project !== caller.project) throw noProject(project)
    const over = input.scopes.find((scope) => !caller.scopes.has(scope))
    if (over !== undefined)
      throw new AtollError(
        'forbidden',
        `cannot make a key with the scope ${over}: this key does not have it itself`,
      )
  }
  const known = await context.db
    .selectFrom('projects')
    .select('id')
    .where('id', '=', project)
    .executeTakeFirst()
  if (known === undefined) throw noProject(project)
  const { count } = await context.db
    .selectFrom('keys')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('project', '=', project)
    .where('revoked_at_ms', 'is', null)
    .executeTakeFirstOrThrow()
  if (Number(count) >= context.limits.keysPerProject)
    throw new AtollError('quota_exceeded', `cannot make a key: project ${project} has ${count}; revoke some`)
  return await makeKey(context, project, input.name, input.scopes)
}

/** A page of a project's keys, revoked ones too, by id. */
export const listKeys = async (
  context: Context,
  project: string,
  page: { readonly cursor?: string | undefined; readonly limit: number },
): Promise<{ keys: Key[]; nextCursor: string | null }> => {
  await context.keys.flushUsed()
  const rows = await context.db
    .selectFrom('keys')
    .selectAll()
    .where('project', '=', project)
    .where('id', '>', page.cursor ?? '')
    .orderBy('id')
    .limit(page.limit + 1)
    .execute()
  const shown = rows.slice(0, page.limit)
  return {
    keys: shown.map(viewKey),
    nextCursor: rows.length > page.limit ? (shown.at(-1)?.id ?? null) : null,
  }
}

/** Revokes a key: the next request that carries it is refused. Again: the same answer. */
export const revokeKey = async (context: Context, caller: Caller, id: string): Promise<Key> => {
  const row = await context.db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirst()
  if (row === undefined || (row.project !== caller.project && !caller.scopes.has('admin')))
    throw new AtollError('not_found', `cannot find key ${id}: this project never had it`)
  if (row.revoked_at_ms !== null) return viewKey(row)
  const revoked = context.clock.now()
  await context.db.updateTable('keys').set({ revoked_at_ms: revoked }).where('id', '=', id).execute()
  context.keys.forget(id)
  return viewKey({ ...row, revoked_at_ms: revoked })
}

const noProject = (id: string): AtollError => new AtollError('not_found', `cannot find project ${id}`)

const viewKey = (row: KeyRow): Key =>
  keySchema.parse({
    id: row.id,
    project: row.project,
    name: row.name,
    scopes: JSON.parse(row.scopes),
    createdAtMs: row.created_at_ms,
    lastUsedAtMs: row.last_used_at_ms,
    revokedAtMs: row.revoked_at_ms,
  })
