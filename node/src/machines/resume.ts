import { AtollError, type Lease } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import { admitAgain, readHostRoom } from './admit.ts'
import { liveOf, round } from './boot.ts'
import type { Context } from './context.ts'
import { watchExit } from './exited.ts'
import { liveOfRecord, stand, thaw } from './freeze.ts'
import { inLine } from './line.ts'
import { bindLease, leaseAtResume } from './lease.ts'
import { machineLimits } from './limits.ts'
import { openFor } from './make-machine.ts'
import { restoreCopy } from './restore-copy.ts'
import { transition, transitionFrom } from './transition.ts'

/**
 * Brings a paused sandbox back; resolves when it runs, with its clock right. One whose time is over gets its
 * length again. A running one is left as it is; one that cannot come back stays paused with all it has.
 */
export const resumeSandbox = (context: Context, id: string, by: string): Promise<void> =>
  inLine(
    context,
    id,
    { name: 'resume', act: 'cannot resume', ms: machineLimits.captureMs },
    async (record, signal) => {
      if (record.state === 'running') return
      if (record.state !== 'paused') throw resumeRefused(record)
      if (record.depth === 'frozen') await thawFrozen(context, record, by)
      else await restoreStored(context, record, by, signal)
    },
  )

const resumeRefused = ({ id, state }: SandboxRecord): AtollError =>
  new AtollError('state_conflict', `cannot resume ${id}: it is ${state}`, {
    sandboxState: state,
    ...(state === 'stopped' ? { remedy: 'start it: its memory was not kept' } : {}),
  })

const running = (context: Context, lease: Lease) =>
  ({
    state: 'running',
    lease,
    depth: null,
    pausedAtMs: null,
    stateDeadlineMs: null,
    idleSinceMs: context.clock.now(),
  }) as const

const thawFrozen = async (context: Context, record: SandboxRecord, by: string): Promise<void> => {
  const live = liveOfRecord(context, record, 'cannot resume')
  const lease = leaseAtResume(context, record)
  await thaw(context, { ...record, lease }, live)
  try {
    transitionFrom(context, record, running(context, leaseAtResume(context, record)), {
      type: 'resumed',
      data: { by, depth: 'frozen', generation: record.generation },
    })
  } catch (error) {
    // It is being deleted: until then it is frozen.
    await live.machine.freeze(AbortSignal.timeout(machineLimits.probeMs)).catch(() => undefined)
    throw error
  }
  live.lastHeldMs = context.clock.now()
  stand(live, false)
  await bindLease(context, live, lease)
}

const restoreStored = async (
  context: Context,
  record: SandboxRecord,
  by: string,
  signal: AbortSignal,
): Promise<void> => {
  const began = context.clock.monotonic()
  const { saved } = record
  const row = saved === null ? undefined : context.records.snapshots.get(saved)
  if (row === undefined || row.sandbox !== record.id)
    throw new AtollError('snapshot_invalid', `cannot resume ${record.id}: its saved state has no record`)
  if (row.detail.generation !== record.generation)
    throw new AtollError(
      'snapshot_invalid',
      `cannot resume ${record.id}: its saved state is of generation ${row.detail.generation}, it was paused in ${record.generation}`,
    )
  const runtime = await context.runtimes.choose(record.runtime)
  const room = await readHostRoom(context.dataFolder)
  admitAgain(context, record.spec, room)
  const resuming = transition(
    context,
    record,
    { state: 'resuming', stateDeadlineMs: context.clock.now() + machineLimits.captureMs },
    { type: 'resuming', data: { by } },
  )
  try {
    await using opened = await openFor(context, runtime, row, signal)
    const generation = record.generation + 1
    const lease = leaseAtResume(context, record)
    const owner = { id: record.id, spec: record.spec, lease, generation }
    const copy = await restoreCopy(context, runtime, owner, opened.image, 'resume', signal)
    await using unclaimed = copy.unclaimed
    const { machine, machineId, slot, guest } = unclaimed
    const live = liveOf(context, record.id, machine, guest)
    const timings = { ...copy.timings, resumeMs: round(context.clock.monotonic() - began) }
    transitionFrom(
      context,
      resuming,
      {
        ...running(context, leaseAtResume(context, record)),
        machine: machine.record,
        machineId,
        slot,
        generation,
        saved: null,
        bootId: context.bootId,
        timings,
      },
      { type: 'resumed', data: { by, depth: 'stored', generation, timings } },
    )
    unclaimed.own(record.id)
    context.live.set(record.id, live)
    watchExit(context, live)
    await bindLease(context, live, lease)
  } catch (error) {
    stayPaused(context, resuming, error)
    throw error
  }
  // Its own state goes: the next one is another, and an old one must never come back.
  await forgetSnapshot(context, row.id).catch((error: unknown) =>
    context.logger.warn(
      { sandbox: record.id, err: error },
      'a saved state that was used could not be removed',
    ),
  )
}

const stayPaused = (context: Context, resuming: SandboxRecord, error: unknown): void => {
  if (context.records.sandboxes.get(resuming.id)?.state !== 'resuming') return
  transitionFrom(
    context,
    resuming,
    { state: 'paused', stateDeadlineMs: null },
    { type: 'resume_failed', data: { because: error instanceof Error ? error.message : String(error) } },
  )
}
