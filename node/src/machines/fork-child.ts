import { AtollError, type NodeSandboxSpec } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { liveOf, round } from './boot.ts'
import type { Context } from './context.ts'
import { endedError, endSandbox } from './end.ts'
import { watchExit } from './exited.ts'
import { machineLimits } from './limits.ts'
import { restoreCopy } from './restore-copy.ts'
import type { Runtime } from './runtimes.ts'
import { transition } from './transition.ts'

/** What children are made of, until it is disposed. */
export interface Source extends AsyncDisposable {
  readonly runtime: Runtime
  /** Of the identity that the state has: each child gets the next one. */
  readonly generation: number
  readonly image: MachineImage
  /** How long user code of the parent stood still. */
  readonly pausedMs: number
}

/** A child that is admitted. */
export interface ChildSpec {
  readonly spec: NodeSandboxSpec
  readonly hash: string
}

/** Lets a limited number of children in at a time. */
interface Places {
  enter(signal: AbortSignal): Promise<Disposable | undefined>
}

/** Records a child and begins to make it; who deletes it meanwhile aborts it. Rejects when it could not be made. */
export const beginChild = (
  context: Context,
  parent: SandboxRecord,
  { spec, hash }: ChildSpec,
  source: Promise<Source>,
  places: Places,
): Promise<void> => {
  const record = recordOfChild(context, parent, spec, hash)
  context.records.sandboxes.insert(record)
  const controller = new AbortController()
  const signal = AbortSignal.any([
    controller.signal,
    context.closing,
    AbortSignal.timeout(machineLimits.captureMs + machineLimits.bootMs),
  ])
  const attempt = make(context, record, source, places, signal)
  const done = attempt.catch((error: unknown) => fail(context, spec.id, asChildError(error, signal, spec.id)))
  const unwound = attempt.then(
    () => undefined,
    () => undefined,
  )
  context.work.set(spec.id, { hash, abort: (reason) => controller.abort(reason), unwound, done })
  return done.finally(() => context.work.delete(spec.id))
}

const make = async (
  context: Context,
  record: SandboxRecord,
  source: Promise<Source>,
  places: Places,
  signal: AbortSignal,
): Promise<void> => {
  const began = context.clock.monotonic()
  const { runtime, image, pausedMs, generation } = await source
  const captured = context.clock.monotonic()
  using place = await places.enter(signal)
  if (place === undefined) throw new AtollError('overloaded', `cannot fork into ${record.id}: try again`)
  signal.throwIfAborted()
  const owner = { ...record, generation: generation + 1 }
  const queued = context.clock.monotonic()
  const copy = await restoreCopy(context, runtime, owner, image, 'fork', signal)
  await using unclaimed = copy.unclaimed
  const { machine, machineId, slot, guest } = unclaimed
  const timings = {
    captureMs: round(captured - began),
    pausedMs,
    queueMs: round(queued - captured),
    ...copy.timings,
    totalMs: round(context.clock.monotonic() - began),
  }
  const live = liveOf(context, record.id, machine, guest)
  unclaimed.own(record.id)
  transition(
    context,
    record,
    {
      state: 'running',
      machine: machine.record,
      machineId,
      slot,
      generation: owner.generation,
      stateDeadlineMs: null,
      idleSinceMs: context.clock.now(),
      timings,
    },
    { type: 'running', data: { parent: record.parent, timings } },
  )
  context.live.set(record.id, live)
  watchExit(context, live)
}

const recordOfChild = (
  context: Context,
  parent: SandboxRecord,
  spec: NodeSandboxSpec,
  hash: string,
): SandboxRecord => {
  const now = context.clock.now()
  return {
    ...parent,
    id: spec.id,
    state: 'creating',
    version: 1,
    spec,
    specHash: hash,
    lease: spec.lease,
    machine: null,
    machineId: null,
    generation: parent.generation + 1,
    depth: null,
    saved: null,
    pausedAtMs: null,
    parent: parent.id,
    bootId: context.bootId,
    slot: null,
    createdAtMs: now,
    stateDeadlineMs: now + machineLimits.captureMs + machineLimits.bootMs,
    idleSinceMs: null,
    ending: null,
    ended: null,
    timings: {},
  }
}

/** A child that could not be made leaves a tombstone that says why. */
const fail = async (context: Context, id: string, error: AtollError): Promise<never> => {
  const record = context.records.sandboxes.get(id)
  if (record?.state === 'creating' && !context.closing.aborted)
    await endSandbox(
      context,
      record,
      { cause: 'create_failed', by: 'node', message: error.message },
      false,
    ).catch(() => undefined) // Reported by the teardown, which is tried again; the child's own error is told.
  const now = context.records.sandboxes.get(id)
  if (now !== undefined && now.ended !== null && now.ended.cause !== 'create_failed')
    throw endedError(now, 'cannot fork into')
  throw error
}

const asChildError = (error: unknown, signal: AbortSignal, id: string): AtollError => {
  if (signal.aborted && signal.reason instanceof AtollError) return signal.reason
  if (signal.aborted)
    return new AtollError('deadline_node', `cannot fork into ${id}: it did not run in time; try again`, {
      cause: error,
    })
  if (error instanceof AtollError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new AtollError('internal', `cannot fork into ${id}: ${message}`, { cause: error })
}
