import { createHash } from 'node:crypto'
import { AtollError, limits as shared } from '@atoll/protocol'
import type { MiddlewareHandler } from 'hono'
import type { Context } from '../context.ts'
import type { AnswerRow } from '../store/tables.ts'
import type { Environment } from './environment.ts'
import { untilReboot } from '../store/until-reboot.ts'
import { sealer, sealNonceBytes } from './seal.ts'

const mutating = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])

/**
 * Makes a call with an Idempotency-Key happen once (invariant 13). The claim is on disk before the effect
 * begins, with the id of the thing that will be made: a repeated call after a crash finds it again. An
 * answer that invites a retry is not kept, since the retry is to be a new try.
 */
export const idempotency = (context: Context): MiddlewareHandler<Environment> => {
  const underWay = new Map<string, Promise<void>>()
  return async (c, next) => {
    const key = c.req.header('idempotency-key')
    if (key === undefined || !mutating.has(c.req.method)) return await next()
    checkKey(key)
    const { project } = c.get('caller')
    const url = new URL(c.req.url)
    const parameters = hash([c.req.method, url.pathname + url.search, project, await c.req.text()])
    const name = `${project} ${key}`
    await otherCalls(context, underWay, name, key)
    const { promise, resolve } = Promise.withResolvers<void>()
    underWay.set(name, promise)
    try {
      const row = await claim(context, project, key, parameters)
      const seal = sealer(c.req.header('authorization') ?? '', key)
      if (row.status !== null) return replay(row, seal.open(row.body ?? ''))
      let named = false
      c.set('subject', (fresh) => {
        named = true
        return takeSubject(context, row, fresh)
      })
      await next()
      const kept = () => keep(context, row, c.res, (text) => seal.seal(text, context.random(sealNonceBytes)))
      // What has a name is found again by it, should a power cut take the answer.
      await (named ? untilReboot(kept) : kept())
    } finally {
      underWay.delete(name)
      resolve()
    }
  }
}

const checkKey = (key: string): void => {
  if (/^[\x21-\x7e]+$/.test(key) && key.length <= shared.idempotencyKeyLength) return
  throw new AtollError(
    'invalid_request',
    `idempotency-key: must be 1 to ${shared.idempotencyKeyLength} visible ASCII characters; a UUID will do`,
  )
}

const hash = (parts: readonly string[]): string => {
  const sum = createHash('sha256')
  for (const part of parts) sum.update(`${Buffer.byteLength(part)}\n`).update(part)
  return sum.digest('hex')
}

const otherCalls = async (
  context: Context,
  underWay: ReadonlyMap<string, Promise<void>>,
  name: string,
  key: string,
): Promise<void> => {
  const until = context.clock.monotonic() + context.limits.idempotencyWaitMs
  for (let other = underWay.get(name); other !== undefined; other = underWay.get(name)) {
    const leftMs = until - context.clock.monotonic()
    const { promise: late, resolve } = Promise.withResolvers<'late'>()
    const timer = setTimeout(() => resolve('late'), Math.max(0, leftMs))
    const first = await Promise.race([other, late])
    clearTimeout(timer)
    if (first === 'late')
      throw new AtollError(
        'overloaded',
        `the first call with the Idempotency-Key ${key} still runs; repeat this one later`,
      )
  }
}

/** Made durable by the effect's own commit, which comes after it in the log. */
const claim = (context: Context, project: string, key: string, parameters: string): Promise<AnswerRow> =>
  untilReboot(() => insertOrRead(context, project, key, parameters))

const insertOrRead = (
  context: Context,
  project: string,
  key: string,
  parameters: string,
): Promise<AnswerRow> =>
  context.db.transaction().execute(async (trx) => {
    const fresh: AnswerRow = {
      project,
      key,
      parameters,
      subject: null,
      status: null,
      body: null,
      created_at_ms: context.clock.now(),
    }
    await trx
      .insertInto('answers')
      .values(fresh)
      .onConflict((conflict) => conflict.columns(['project', 'key']).doNothing())
      .execute()
    const row = await trx
      .selectFrom('answers')
      .selectAll()
      .where('project', '=', project)
      .where('key', '=', key)
      .executeTakeFirstOrThrow()
    if (row.parameters === parameters) return row
    throw new AtollError(
      'idempotency_conflict',
      `the Idempotency-Key ${key} was used with other parameters; take a new key for a new call`,
    )
  })

/** The id of what this call makes: the stored one when a first try got that far. */
const takeSubject = async (context: Context, row: AnswerRow, fresh: string): Promise<string> => {
  if (row.subject !== null && !(await failedCreation(context, row.subject))) return row.subject
  await untilReboot(() =>
    context.db
      .updateTable('answers')
      .set({ subject: fresh })
      .where('project', '=', row.project)
      .where('key', '=', row.key)
      .execute(),
  )
  return fresh
}

/** A first try that never became a sandbox does not bind the second one. */
const failedCreation = async (context: Context, id: string): Promise<boolean> => {
  const owner = await context.owners.load(id)
  return owner?.ended?.cause === 'create_failed'
}

const keep = async (
  context: Context,
  row: AnswerRow,
  response: Response,
  seal: (text: string) => string,
): Promise<void> => {
  const text = await response.clone().text()
  const retry = response.status >= 500 || response.status === 429 || response.status === 401
  if (retry || text.length > context.limits.answerBytes) {
    await context.db
      .deleteFrom('answers')
      .where('project', '=', row.project)
      .where('key', '=', row.key)
      .execute()
    return
  }
  await context.db
    .updateTable('answers')
    .set({ status: response.status, body: seal(text) })
    .where('project', '=', row.project)
    .where('key', '=', row.key)
    .execute()
}

const replay = (row: AnswerRow, text: string | undefined): Response => {
  if (text === undefined)
    throw new AtollError(
      'idempotency_conflict',
      `the Idempotency-Key ${row.key} was used with another API key; only that one opens its answer`,
    )
  const headers = { 'content-type': 'application/json', 'idempotency-replayed': 'true' }
  return new Response(text, { status: row.status ?? 200, headers })
}
