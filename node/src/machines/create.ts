import { createHash } from 'node:crypto'
import { AtollError, type NodeSandboxSpec, sandboxIdSchema } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { admit, readHostRoom } from './admit.ts'
import { liveOf, round } from './boot.ts'
import type { Context } from './context.ts'
import { endSandbox, endedError } from './end.ts'
import { watchExit } from './exited.ts'
import { refuseUnsupportedStop } from './lease.ts'
import { machineLimits } from './limits.ts'
import { makeMachine, snapshotOf } from './make-machine.ts'
import { isolationOf, type Runtime } from './runtimes.ts'
import { transition, transitionUntilReboot } from './transition.ts'

/**
 * Creates a sandbox, once for an id and spec (invariant 13); resolves when its guest has its identity, with true
 * where that was just now.
 */
export const createSandbox = async (
  context: Context,
  spec: NodeSandboxSpec,
  signal: AbortSignal | undefined,
): Promise<boolean> => {
  if (!sandboxIdSchema.safeParse(spec.id).success)
    throw new AtollError('invalid_request', `cannot create ${spec.id}: no sandbox id`)
  const hash = hashOf(spec)
  const work = context.work.get(spec.id)
  if (work !== undefined) {
    if (work.hash !== hash) throw otherSpec(spec.id)
    await work.done
    return false
  }
  const record = context.records.sandboxes.get(spec.id)
  if (record === undefined) {
    await begin(context, spec, hash, signal)
    return true
  }
  if (record.specHash !== hash) throw otherSpec(spec.id)
  if (record.ended !== null) throw endedError(record, 'cannot create')
  if (record.state === 'deleting')
    throw new AtollError('state_conflict', `cannot create ${spec.id}: it is being deleted`, {
      sandboxState: 'deleting',
    })
  return false
}

const otherSpec = (id: string): AtollError =>
  new AtollError('conflict', `cannot create ${id}: the id stands for a sandbox of another spec`)

/** The same in any order of keys. When the lease runs out is no part: a retry comes later than the first try. */
export const hashOf = (spec: NodeSandboxSpec): string => {
  const { expiresAtMs: _, ...lease } = spec.lease
  return createHash('sha256')
    .update(canonical({ ...spec, lease }))
    .digest('hex')
}

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([left], [right]) => (left < right ? -1 : 1)))
      : part,
  )

const begin = (
  context: Context,
  spec: NodeSandboxSpec,
  hash: string,
  outer: AbortSignal | undefined,
): Promise<void> => {
  const controller = new AbortController()
  const signals = [controller.signal, context.closing, AbortSignal.timeout(machineLimits.bootMs)]
  const signal = AbortSignal.any(outer === undefined ? signals : [...signals, outer])
  const attempt = run(context, spec, hash, signal)
  const done = attempt.then(
    () => undefined,
    async (error: unknown) => await fail(context, spec.id, asAtollError(error, signal, spec.id)),
  )
  const unwound = attempt.then(
    () => undefined,
    () => undefined,
  )
  context.work.set(spec.id, { hash, abort: (reason) => controller.abort(reason), unwound, done })
  return done.finally(() => context.work.delete(spec.id))
}

const run = async (
  context: Context,
  spec: NodeSandboxSpec,
  hash: string,
  signal: AbortSignal,
): Promise<void> => {
  const began = context.clock.monotonic()
  const runtime = await context.runtimes.choose(spec.runtime)
  refuseUnsupportedStop(spec.lease, runtime)
  const snapshot = snapshotOf(context, spec, runtime)
  const room = await readHostRoom(context.dataFolder)
  signal.throwIfAborted()
  admit(context, spec, room)
  const generation = (snapshot?.detail.generation ?? 0) + 1
  const record = insert(context, spec, hash, runtime, generation)
  const queueMs = round(context.clock.monotonic() - began)
  const { unclaimed, timings } = await makeMachine(context, runtime, record, snapshot, signal)
  // Destroys it unless the record names it by then.
  await using _machine = unclaimed
  const { machine, machineId, slot } = unclaimed
  const live = liveOf(context, spec.id, machine, unclaimed.guest)
  unclaimed.own(spec.id)
  // Only a disk that outlives the host needs a record that does; the rest is lost with it, and found to be.
  const change = spec.lease.onHostLost === 'stop' ? transition : transitionUntilReboot
  change(
    context,
    record,
    {
      state: 'running',
      machine: machine.record,
      machineId,
      slot,
      stateDeadlineMs: null,
      idleSinceMs: context.clock.now(),
      timings: { queueMs, ...timings, totalMs: round(context.clock.monotonic() - began) },
    },
    { type: 'running', data: { timings, machine: machineId } },
  )
  context.live.set(spec.id, live)
  watchExit(context, live)
}

/** The durable intent, before any effect. It names no machine until one has its identity. */
const insert = (
  context: Context,
  spec: NodeSandboxSpec,
  hash: string,
  runtime: Runtime,
  generation: number,
): SandboxRecord => {
  const now = context.clock.now()
  const record: SandboxRecord = {
    id: spec.id,
    state: 'creating',
    version: 1,
    spec,
    specHash: hash,
    runtime: runtime.driver.name,
    isolation: isolationOf(runtime),
    lease: spec.lease,
    machine: null,
    machineId: null,
    generation,
    depth: null,
    saved: null,
    pausedAtMs: null,
    parent: null,
    bootId: context.bootId,
    slot: null,
    createdAtMs: now,
    stateDeadlineMs: now + machineLimits.bootMs,
    idleSinceMs: null,
    ending: null,
    ended: null,
    timings: {},
  }
  // A power cut ends the attempt with its caller's connection: nothing is promised yet.
  context.records.atomicUntilReboot(() => context.records.sandboxes.insert(record))
  return record
}

/** A creation that failed half-way leaves a tombstone; one that never began leaves nothing. */
const fail = async (context: Context, id: string, error: AtollError): Promise<void> => {
  const record = context.records.sandboxes.get(id)
  if (record !== undefined && record.state === 'creating' && !context.closing.aborted)
    await endSandbox(
      context,
      record,
      { cause: 'create_failed', by: 'node', message: error.message },
      false,
    ).catch(() => undefined) // Reported by the teardown, which is tried again; the creation's own error is told.
  const now = context.records.sandboxes.get(id)
  if (now?.ended !== undefined && now.ended !== null && now.ended.cause !== 'create_failed')
    throw endedError(now, 'cannot create')
  throw error
}

const asAtollError = (error: unknown, signal: AbortSignal, id: string): AtollError => {
  if (signal.aborted) {
    if (signal.reason instanceof AtollError) return signal.reason
    if (signal.reason instanceof DOMException && signal.reason.name === 'TimeoutError')
      return new AtollError(
        'deadline_node',
        `cannot create ${id}: it did not run within ${machineLimits.bootMs} ms; try again`,
        { cause: error },
      )
    return new AtollError('canceled', `cannot create ${id}: the caller went away`, { cause: error })
  }
  if (error instanceof AtollError) return error
  return new AtollError(
    'internal',
    `cannot create ${id}: ${error instanceof Error ? error.message : String(error)}`,
    {
      cause: error,
    },
  )
}
