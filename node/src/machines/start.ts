import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import { admitAgain, readHostRoom } from './admit.ts'
import { boot, liveOf } from './boot.ts'
import type { Context } from './context.ts'
import { watchExit } from './exited.ts'
import { inLine } from './line.ts'
import { machineLimits } from './limits.ts'
import { makeMachine } from './make-machine.ts'
import { openImage } from './open-image.ts'
import type { Runtime } from './runtimes.ts'
import { transition, transitionFrom } from './transition.ts'

/** Boots a stopped sandbox on its kept disk; a boot that fails leaves it stopped. */
export const startSandbox = (context: Context, id: string): Promise<void> =>
  inLine(
    context,
    id,
    { name: 'start', act: 'cannot start', ms: machineLimits.captureMs },
    async (record, signal) => {
      if (record.state === 'running') return
      refuse(context, record)
      const runtime = await context.runtimes.choose(record.runtime)
      admitAgain(context, record.spec, await readHostRoom(context.dataFolder))
      const claimed = transition(
        context,
        record,
        {
          state: 'starting',
          bootId: context.bootId,
          stateDeadlineMs: context.clock.now() + machineLimits.captureMs,
        },
        { type: 'starting' },
      )
      try {
        if (record.saved === null) await startInPlace(context, claimed, runtime, signal)
        else await startSaved(context, claimed, record.saved, runtime, signal)
      } catch (error) {
        stayStopped(context, claimed)
        throw error
      }
    },
  )

const refuse = (context: Context, { id, state, lease }: SandboxRecord): void => {
  if (state !== 'stopped')
    throw new AtollError('state_conflict', `cannot start ${id}: it is ${state}`, {
      sandboxState: state,
      ...(state === 'paused' ? { remedy: 'resume it' } : { retryable: true }),
    })
  if (lease.expiresAtMs <= context.clock.now())
    throw new AtollError('state_conflict', `cannot start ${id}: its time is over; extend it first`, {
      sandboxState: 'stopped',
      remedy: 'extend its lease',
    })
}

/** On the disk in its own folder, which stayed with its range of user ids. */
const startInPlace = async (
  context: Context,
  record: SandboxRecord,
  runtime: Runtime,
  signal: AbortSignal,
): Promise<void> => {
  const image = await openImage(context, runtime, record.spec.imageDigest, signal)
  using place = await context.boots.enter(signal)
  if (place === undefined)
    throw new AtollError('overloaded', `cannot start ${record.id}: too many are waiting; try again`)
  const generation = record.generation + 1
  const { live, timings } = await boot(context, runtime.driver, { ...record, generation }, image, signal)
  await using rollback = new AsyncDisposableStack()
  rollback.use(live.machine)
  const idleSinceMs = context.clock.now()
  transitionFrom(
    context,
    record,
    {
      state: 'running',
      machine: live.machine.record,
      generation,
      stateDeadlineMs: null,
      idleSinceMs,
      timings,
    },
    { type: 'running', data: { timings } },
  )
  context.live.set(record.id, live)
  rollback.move()
  watchExit(context, live)
}

/** A new machine, on which the saved files are laid before anyone uses it. */
const startSaved = async (
  context: Context,
  record: SandboxRecord,
  saved: string,
  runtime: Runtime,
  signal: AbortSignal,
): Promise<void> => {
  const row = context.records.snapshots.get(saved)
  if (row === undefined || row.sandbox !== record.id)
    throw new AtollError('snapshot_invalid', `cannot start ${record.id}: its saved disk has no record`)
  const generation = record.generation + 1
  const { unclaimed: made, timings } = await makeMachine(
    context,
    runtime,
    { ...record, generation },
    row,
    signal,
  )
  await using unclaimed = made
  const { machine, machineId, slot, guest } = unclaimed
  signal.throwIfAborted()
  const live = liveOf(context, record.id, machine, guest)
  const idleSinceMs = context.clock.now()
  transitionFrom(
    context,
    record,
    {
      state: 'running',
      machine: machine.record,
      machineId,
      slot,
      generation,
      saved: null,
      stateDeadlineMs: null,
      idleSinceMs,
      timings,
    },
    { type: 'running', data: { timings } },
  )
  unclaimed.own(record.id)
  context.live.set(record.id, live)
  watchExit(context, live)
  await forgetSnapshot(context, row.id).catch((error: unknown) =>
    context.logger.warn(
      { sandbox: record.id, err: error },
      'a saved disk that was used could not be removed',
    ),
  )
}

const stayStopped = (context: Context, claimed: SandboxRecord): void => {
  if (context.records.sandboxes.get(claimed.id)?.state !== 'starting') return
  transitionFrom(
    context,
    claimed,
    { state: 'stopped', stateDeadlineMs: null },
    { type: 'stopped', data: { by: 'node', because: 'the start failed' } },
  )
}
