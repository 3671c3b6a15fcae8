import type { SandboxPatch, SandboxRecord } from '../records/sandboxes.ts'
import { removeUnnamed } from '../snapshots/remove.ts'
import { hostDeadlineOf } from './boot.ts'
import { capture, type Captured, type CaptureOrder, type Subject } from './capture.ts'
import type { Context, Live } from './context.ts'
import { watchExit } from './exited.ts'
import { settleFrozen, stand } from './freeze.ts'
import { leaseAtResume } from './lease.ts'
import { machineLimits } from './limits.ts'
import { type EventContent, transitionFrom } from './transition.ts'

/** What a record becomes once its state is saved. */
export interface Settled {
  readonly patch: SandboxPatch
  readonly event: EventContent
}

/**
 * Saves the state of a sandbox that is on its way to rest, and says so in its record together with the row of what
 * was saved. From then on its machine is nobody's; before that everything is as it was.
 */
export const putAside = async (
  context: Context,
  subject: Subject,
  order: CaptureOrder,
  settle: (captured: Captured) => Settled,
  signal: AbortSignal,
): Promise<void> => {
  const captured = await capture(context, subject, order, signal)
  await using still = captured.still
  const { row } = captured
  try {
    signal.throwIfAborted()
    const { patch, event } = settle(captured)
    transitionFrom(context, subject.record, patch, event, () => context.records.snapshots.insert(row))
    still.leave()
  } catch (error) {
    await removeUnnamed(context, row.digest)
    throw error
  }
}

/**
 * Lets a machine run that is to be captured: one that was paused frozen, or that the host froze at its deadline.
 * Its user code runs for the moment until its processes stand still.
 */
export const run = async (context: Context, live: Live, signal: AbortSignal): Promise<void> => {
  if ((await live.machine.state(signal)) !== 'frozen') return
  // Not its lease's end, which may have passed: that would kill or freeze what is being saved.
  const until = context.clock.now() + machineLimits.captureMs + machineLimits.hostDeadlineGraceMs
  await live.machine.setDeadline(until, 'freeze', signal)
  await live.machine.thaw(signal)
}

/** As it was before: it runs, or is frozen again. Who deletes it meanwhile has it. */
export const backToFormer = async (
  context: Context,
  former: SandboxRecord,
  now: Pick<SandboxRecord, 'id' | 'state'>,
  live: Live,
  error: unknown,
): Promise<void> => {
  const { id } = former
  if (context.records.sandboxes.get(id)?.state !== now.state) return
  const because = error instanceof Error ? error.message : String(error)
  if (former.depth === 'frozen') {
    try {
      const signal = AbortSignal.timeout(machineLimits.probeMs)
      await live.machine.freeze(signal)
      await live.machine.setDeadline(null, 'freeze', signal)
      stand(live, true)
      settleFrozen(context, now, { by: 'node', sinceMs: former.pausedAtMs ?? context.clock.now() })
      return
    } catch (fault) {
      context.logger.error({ sandbox: id, err: fault }, 'a sandbox could not be frozen again; it runs')
    }
  }
  transitionFrom(
    context,
    now,
    {
      state: 'running',
      ...(former.depth === 'frozen' ? { lease: leaseAtResume(context, former) } : {}),
      depth: null,
      pausedAtMs: null,
      stateDeadlineMs: null,
    },
    { type: now.state === 'stopping' ? 'stop_failed' : 'pause_failed', data: { because } },
  )
  stand(live, false)
  live.lastHeldMs = context.clock.now()
  await setHostDeadline(context, live).catch((fault: unknown) =>
    context.logger.error({ sandbox: id, err: fault }, 'the host was not told when a sandbox ends'),
  )
  // Its machine may have ended meanwhile: then that is recorded now.
  watchExit(context, live)
}

const setHostDeadline = async (context: Context, live: Live): Promise<void> => {
  const lease = context.records.sandboxes.get(live.id)?.lease
  if (lease === undefined || lease.expiresAtMs <= context.clock.now()) return
  const { unixMs, action } = hostDeadlineOf(lease)
  await live.machine.setDeadline(unixMs, action, AbortSignal.timeout(machineLimits.probeMs))
}
