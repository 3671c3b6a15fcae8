import {
  AtollError,
  type CreateSandbox,
  limitsSchema,
  makeId,
  type NodeSandboxSpec,
  type Sandbox,
} from '@atoll/protocol'
import { claimQuota } from '../access/quota.ts'
import type { Caller, Context } from '../context.ts'
import { appendEvent } from '../events/append.ts'
import { applySeen, endRecord, probe } from '../fleet/apply.ts'
import { chooseRuntime } from '../placement/choose-runtime.ts'
import type { SandboxRow } from '../store/tables.ts'
import { type ResolvedTemplate, resolveTemplate } from '../templates/resolve.ts'
import { readSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'

/**
 * Records the intent, then asks the node, then records what came of it: at no instant does a sandbox run
 * that no record names. `id` is the one that an Idempotency-Key stands for: a repeated call after a crash
 * in the middle finds its sandbox again (invariant 13).
 */
export const createSandbox = async (
  context: Context,
  caller: Caller,
  input: CreateSandbox,
  id: string,
): Promise<Sandbox> => {
  const before = await readSandbox(context, id)
  if (before !== undefined) return await resume(context, before)
  const template = await resolveTemplate(context, caller, input.template)
  const isolation = await chooseRuntime(context, input.runtime)
  const row = newRow(context, caller, input, template, id)
  row.isolation = JSON.stringify(isolation)
  context.creating.add(id)
  try {
    await insert(context, row, input.labels)
    return await start(context, row, specOf(row, input, template))
  } finally {
    context.creating.delete(id)
  }
}

/** The id of a new sandbox. */
export const newSandboxId = (context: Context): string => makeId('sbx', context.random(20))

const resume = async (context: Context, before: SandboxRow): Promise<Sandbox> => {
  const row = await probe(context, before)
  refuseEnded(row, 'create')
  return viewSandbox(row)
}

const newRow = (
  context: Context,
  caller: Caller,
  input: CreateSandbox,
  template: ResolvedTemplate,
  id: string,
): SandboxRow => {
  const granted = limitsSchema.parse(input.limits)
  const now = context.clock.now()
  return {
    id,
    project: caller.project,
    name: input.name ?? null,
    state: 'creating',
    version: 1,
    event_seq: 0,
    template: template.name,
    image_digest: template.imageDigest,
    isolation: '{}',
    limits: JSON.stringify(granted),
    cpu_millis: granted.cpuMillis,
    memory_mib: granted.memoryMib,
    labels: JSON.stringify(input.labels),
    user: input.user ?? template.config.user,
    workdir: input.workdir ?? template.config.workdir,
    created_at_ms: now,
    created_by: caller.key,
    expires_at_ms: now + input.timeoutMs,
    on_timeout: input.onTimeout,
    idle: input.idle === undefined ? null : JSON.stringify(input.idle),
    on_host_lost: input.onHostLost,
    ended: null,
    ended_at_ms: null,
    timings: '{}',
  }
}

const insert = (context: Context, row: SandboxRow, labels: Readonly<Record<string, string>>): Promise<void> =>
  context.db.transaction().execute(async (trx) => {
    await claimQuota(trx, row.project, { sandboxes: 1, cpuMillis: row.cpu_millis, memoryMib: row.memory_mib })
    await trx.insertInto('sandboxes').values(row).execute()
    const pairs = Object.entries(labels).map(([key, value]) => ({ sandbox: row.id, key, value }))
    if (pairs.length > 0) await trx.insertInto('labels').values(pairs).execute()
    const event = { type: 'state.creating', atMs: row.created_at_ms, data: { by: row.created_by } }
    await appendEvent(trx, row.id, event, context.limits)
  })

const specOf = (row: SandboxRow, input: CreateSandbox, template: ResolvedTemplate): NodeSandboxSpec => ({
  id: row.id,
  runtime: input.runtime ?? null,
  imageDigest: row.image_digest,
  hostname: hostnameOf(row),
  env: { ...template.config.env, ...input.env },
  user: row.user,
  workdir: row.workdir,
  limits: limitsSchema.parse(input.limits),
  lease: {
    expiresAtMs: row.expires_at_ms,
    onTimeout: input.onTimeout,
    idle: input.idle ?? null,
    onHostLost: input.onHostLost,
  },
})

const hostnameOf = (row: SandboxRow): string =>
  row.name !== null && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(row.name)
    ? row.name
    : row.id.replace('_', '-')

const start = async (context: Context, row: SandboxRow, spec: NodeSandboxSpec): Promise<Sandbox> => {
  const begun = context.clock.monotonic()
  const signal = AbortSignal.any([context.closed, AbortSignal.timeout(context.limits.createDeadlineMs)])
  const seen = await context.node.create(spec, signal).catch(async (error: unknown) => {
    await abandon(context, row, error)
    throw error
  })
  const timings = { ...seen.timings, control: context.clock.monotonic() - begun }
  const after = await applySeen(context, row, { ...seen, timings })
  if (after.state !== 'ended') return viewSandbox(after)
  // Deleted while it was being made: the deletion came before the node knew it, so it is told again.
  if (seen.state !== 'ended') await context.node.delete(row.id, 'deleted', row.created_by)
  refuseEnded(after, 'create')
  return viewSandbox(after)
}

/** A creation that failed leaves nothing: the node is told to free what there may be, the record ends. */
const abandon = async (context: Context, row: SandboxRow, error: unknown): Promise<void> => {
  const message = error instanceof AtollError ? `${error.code}: ${error.message}` : 'a fault of the node'
  try {
    await context.node.delete(row.id, 'create_failed', row.created_by)
  } catch (fault) {
    if (!(fault instanceof AtollError && fault.code === 'not_found'))
      context.logger.warn(
        { sandbox: row.id, error: String(fault) },
        'cannot free a failed creation; its lease ends it',
      )
  }
  await endRecord(context, row, 'create_failed', null, message)
}
