import type { CreateSandbox, NodeSandboxSpec, Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import type { SandboxRow } from '../store/tables.ts'
import { abandonCreation } from './abandon.ts'
import { readSandbox, refuseEnded } from './find.ts'
import { insertSandboxes } from './insert.ts'
import { hostnameOf } from './new-id.ts'
import { findOrigin, type Origin } from './origin.ts'
import { viewSandbox } from './view.ts'
import { untilReboot } from '../store/until-reboot.ts'

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
  if (before !== undefined) return await takeUp(context, before)
  const origin = await findOrigin(context, caller, input)
  const row = newRow(context, caller, input, origin, id)
  context.creating.add(id)
  try {
    // Durable with the commit of what came of it, which is before any answer.
    await untilReboot(() => insertSandboxes(context, [row]))
    return await start(context, row, specOf(row, input, origin))
  } finally {
    context.creating.delete(id)
  }
}

const takeUp = async (context: Context, before: SandboxRow): Promise<Sandbox> => {
  const row = await probe(context, before)
  refuseEnded(row, 'create')
  return viewSandbox(row)
}

const newRow = (
  context: Context,
  caller: Caller,
  input: CreateSandbox,
  origin: Origin,
  id: string,
): SandboxRow => {
  const now = context.clock.now()
  return {
    id,
    project: caller.project,
    name: input.name ?? null,
    state: 'creating',
    version: 1,
    event_seq: 0,
    template: origin.template,
    image_digest: origin.imageDigest,
    isolation: JSON.stringify(origin.isolation),
    limits: JSON.stringify(origin.limits),
    cpu_millis: origin.limits.cpuMillis,
    memory_mib: origin.limits.memoryMib,
    labels: JSON.stringify(input.labels),
    user: input.user ?? origin.user,
    workdir: input.workdir ?? origin.workdir,
    created_at_ms: now,
    created_by: caller.key,
    expires_at_ms: now + input.timeoutMs,
    on_timeout: input.onTimeout,
    idle: input.idle === undefined ? null : JSON.stringify(input.idle),
    on_host_lost: input.onHostLost,
    ended: null,
    ended_at_ms: null,
    timings: '{}',
    timeout_ms: input.timeoutMs,
    auto_resume: input.autoResume ? 1 : 0,
    depth: null,
    generation: 1,
    snapshot: origin.snapshot,
    parent: null,
  }
}

const specOf = (row: SandboxRow, input: CreateSandbox, origin: Origin): NodeSandboxSpec => ({
  id: row.id,
  runtime: origin.snapshot === null ? (input.runtime ?? null) : origin.isolation.runtime,
  imageDigest: row.image_digest,
  snapshot: origin.snapshot,
  hostname: hostnameOf(row),
  env: { ...origin.env, ...input.env },
  user: row.user,
  workdir: row.workdir,
  start: origin.start,
  ready: origin.ready,
  limits: origin.limits,
  lease: {
    expiresAtMs: row.expires_at_ms,
    timeoutMs: input.timeoutMs,
    onTimeout: input.onTimeout,
    idle: input.idle ?? null,
    autoResume: input.autoResume,
    onHostLost: input.onHostLost,
  },
})

const start = async (context: Context, row: SandboxRow, spec: NodeSandboxSpec): Promise<Sandbox> => {
  const begun = context.clock.monotonic()
  const signal = AbortSignal.any([context.closed, AbortSignal.timeout(context.limits.createDeadlineMs)])
  const seen = await context.node.create(spec, signal).catch(async (error: unknown) => {
    await abandonCreation(context, row, error)
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
