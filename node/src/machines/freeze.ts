import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { hostDeadlineOf } from './boot.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'
import { transitionFrom } from './transition.ts'

/** The machine of a sandbox that runs or is frozen. */
export const liveOfRecord = (context: Context, { id, state }: SandboxRecord, act: string): Live => {
  const live = context.live.get(id)
  if (live !== undefined) return live
  throw new AtollError(
    'guest_unreachable',
    `${act} ${id}: it is ${state}, but the daemon has not reached its machine; try again or delete it`,
  )
}

/** From here on calls ask the record, and the guest's silence is no fault. */
export const stand = (live: Live, standing: boolean): void => {
  live.standing = standing
  live.guest.hush(standing)
}

/**
 * Freezes a running machine: in memory, without CPU, gone with the host. The record follows the machine; a daemon
 * that dies between the two thaws it when it is back, since nobody was told.
 */
export const freeze = async (context: Context, record: SandboxRecord, by: string): Promise<void> => {
  const live = liveOfRecord(context, record, 'cannot pause')
  const signal = AbortSignal.timeout(machineLimits.probeMs)
  stand(live, true)
  try {
    // A frozen one has no end of its own.
    await Promise.all([live.machine.freeze(signal), live.machine.setDeadline(null, 'freeze', signal)])
    settleFrozen(context, record, { by, sinceMs: context.clock.now() })
  } catch (error) {
    await thawAgain(context, record, live)
    throw error
  }
}

/** The record of a machine that is frozen by now. */
export const settleFrozen = (
  context: Context,
  record: Pick<SandboxRecord, 'id' | 'state'>,
  { by, sinceMs }: { readonly by: string; readonly sinceMs: number },
): void =>
  void transitionFrom(
    context,
    record,
    { state: 'paused', depth: 'frozen', pausedAtMs: sinceMs, idleSinceMs: null, stateDeadlineMs: null },
    { type: 'paused', data: { depth: 'frozen', durable: false, by } },
  )

/** Its processes go on where they were: no identity, clock or connection of it has changed. */
export const thaw = async (context: Context, record: SandboxRecord, live: Live): Promise<void> => {
  const { unixMs, action } = hostDeadlineOf(record.lease)
  const signal = AbortSignal.timeout(machineLimits.probeMs)
  // Together: a daemon that dies between the two freezes it again when it is back, as its record says.
  await Promise.all([live.machine.thaw(signal), live.machine.setDeadline(unixMs, action, signal)])
}

const thawAgain = async (context: Context, record: SandboxRecord, live: Live): Promise<void> => {
  try {
    await thaw(context, record, live)
  } catch (error) {
    context.logger.error({ sandbox: record.id, err: error }, 'a pause failed, and the thaw after it as well')
  } finally {
    stand(live, false)
  }
}
