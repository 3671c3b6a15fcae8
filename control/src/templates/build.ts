import {
  AtollError,
  type Build,
  type BuildEvent,
  type BuildTemplate,
  makeId,
  type NodeBuild,
  type NodeImage,
} from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { BuildRow } from '../store/tables.ts'
import { buildLog } from './build-log.ts'
import { findTemplate, resolveTemplate } from './resolve.ts'
import { viewBuild } from './view.ts'

/** Begins a build and answers at once: the build is a resource with terminal states. */
export const beginBuild = async (
  context: Context,
  caller: Caller,
  input: BuildTemplate,
  id: string,
): Promise<Build> => {
  const before = await context.db.selectFrom('builds').selectAll().where('id', '=', id).executeTakeFirst()
  if (before !== undefined) return viewBuild(before)
  const order = await orderOf(context, caller, input)
  await refuseTooMany(context, caller, input.name)
  const row: BuildRow = {
    id,
    project: caller.project,
    name: input.name,
    state: 'running',
    template: null,
    error: null,
    started_at_ms: context.clock.now(),
    ended_at_ms: null,
  }
  const cancel = context.builds.begin(id, caller.project)
  try {
    await context.db.insertInto('builds').values(row).execute()
  } catch (error) {
    context.builds.end(id)
    throw error
  }
  void run(context, row, order, cancel.signal).finally(() => context.builds.end(id))
  return viewBuild(row)
}

/** The id of a new build. */
export const newBuildId = (context: Context): string => makeId('bld', context.random(20))

const orderOf = async (context: Context, caller: Caller, input: BuildTemplate): Promise<NodeBuild> => {
  const { source } = input
  if (source.type === 'registry' && source.plainHttp && !caller.scopes.has('admin'))
    throw new AtollError(
      'forbidden',
      `cannot pull ${source.reference} without TLS: only a key with the scope admin may`,
    )
  const resolved =
    source.type === 'template'
      ? { type: 'image' as const, digest: (await resolveTemplate(context, caller, source.name)).imageDigest }
      : source
  // The context is named by its hash: where the node keeps uploads is the node's own business.
  return { source: resolved, steps: input.steps, contextPath: input.context ?? null, noCache: input.noCache }
}

const refuseTooMany = async (context: Context, caller: Caller, name: string): Promise<void> => {
  const { count } = await context.db
    .selectFrom('templates')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('project', '=', caller.project)
    .where('name', '!=', name)
    .executeTakeFirstOrThrow()
  if (Number(count) < context.limits.templatesPerProject) return
  throw new AtollError(
    'quota_exceeded',
    `cannot build template ${name}: the project has ${context.limits.templatesPerProject} of them; delete some`,
  )
}

const run = async (context: Context, row: BuildRow, order: NodeBuild, cancel: AbortSignal): Promise<void> => {
  const log = buildLog(context, row.id)
  const signal = AbortSignal.any([cancel, context.closed])
  try {
    const image = await context.node.build(order, (event) => log.add(event), signal)
    await log.flush()
    const template = await keepTemplate(context, row, image)
    await end(context, row, { state: 'succeeded', template })
  } catch (error) {
    const why = signal.aborted ? interrupted(row.id, cancel.aborted) : error
    await fail(context, row, (event) => log.add(event), why).catch((fault: unknown) =>
      context.logger.error({ build: row.id, error: String(fault) }, 'cannot record the end of a build'),
    )
  } finally {
    await log
      .flush()
      .catch((fault: unknown) =>
        context.logger.error({ build: row.id, error: String(fault) }, 'cannot write the log of a build'),
      )
    context.hub.notify(row.id)
  }
}

const interrupted = (id: string, canceled: boolean): AtollError =>
  canceled
    ? new AtollError('canceled', `build ${id} was canceled`)
    : new AtollError(
        'build_failed',
        `control stopped while build ${id} ran; begin it again: finished steps are cached`,
      )

const fail = async (
  context: Context,
  row: BuildRow,
  add: (event: BuildEvent) => void,
  error: unknown,
): Promise<void> => {
  const known = error instanceof AtollError ? error : undefined
  if (known === undefined)
    context.logger.error({ build: row.id, error: String(error) }, 'a build met a fault of ours')
  const body = (known ?? new AtollError('internal', `build ${row.id} met a fault of ours`)).toBody()
  add({ type: 'error', atMs: context.clock.now(), error: body })
  const state = known?.code === 'canceled' ? 'canceled' : 'failed'
  await end(context, row, { state, error: JSON.stringify(body) })
}

/** Compare-and-set from running: a build ends once. */
const end = (context: Context, row: BuildRow, change: Partial<BuildRow>): Promise<unknown> =>
  context.db
    .updateTable('builds')
    .set({ ...change, ended_at_ms: context.clock.now() })
    .where('id', '=', row.id)
    .where('state', '=', 'running')
    .execute()

const keepTemplate = async (context: Context, row: BuildRow, image: NodeImage): Promise<string> => {
  const facts = {
    image_digest: image.digest,
    size_bytes: image.sizeBytes,
    config: JSON.stringify(image.config),
    created_at_ms: context.clock.now(),
  }
  await context.db
    .insertInto('templates')
    .values({ id: makeId('tpl', context.random(20)), project: row.project, name: row.name, ...facts })
    .onConflict((conflict) => conflict.columns(['project', 'name']).doUpdateSet(facts))
    .execute()
  const caller = { key: '', project: row.project, scopes: new Set<string>() }
  return (await findTemplate(context, caller, row.name)).id
}
