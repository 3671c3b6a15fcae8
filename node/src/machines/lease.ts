import { AtollError, type Lease, type LeaseAction } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { hostDeadlineOf } from './boot.ts'
import type { Context, Live } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import { recordOf } from './present.ts'
import type { Runtime } from './runtimes.ts'
import { transition } from './transition.ts'

/** A promise to keep something is refused where the runtime cannot keep it (invariant 11). */
export const refuseUnsupportedStop = (lease: Lease, { driver, capabilities }: Runtime): void => {
  const stops = capabilities.diskStop ? [] : actionsOf(lease, 'stop')
  // A disk that lives in the guest is saved by a stop; nobody can do that for a host that was lost.
  const keepsDisk = capabilities.diskStop && capabilities.diskSnapshot !== 'guest'
  if (lease.onHostLost === 'stop' && !keepsDisk) stops.push('onHostLost')
  if (stops.length > 0)
    throw new AtollError(
      'unsupported',
      `cannot promise ${stops.join(', ')} "stop": runtime ${driver.name} keeps no disk without its memory then; ask for "delete" or for another runtime`,
      { remedy: 'ask for "delete", or name a runtime whose notes say that it can' },
    )
  const pauses = actionsOf(lease, 'pause')
  if (pauses.length > 0 && !capabilities.freeze && !capabilities.memorySnapshot)
    throw new AtollError(
      'unsupported',
      `cannot promise ${pauses.join(', ')} "pause": runtime ${driver.name} can neither freeze nor save memory`,
      { remedy: 'ask for "delete" or "stop", or name another runtime' },
    )
}

const actionsOf = (lease: Lease, action: LeaseAction): string[] => [
  ...(lease.onTimeout === action ? ['onTimeout'] : []),
  ...(lease.idle?.action === action ? ['idle.action'] : []),
]

/** Changes a lease; the host's own deadline moves first, so that a success binds even without us. */
export const changeLease = async (
  context: Context,
  record: SandboxRecord,
  change: Partial<Lease>,
): Promise<void> => {
  if (record.ended !== null || record.state === 'deleting') throw endedError(record, 'cannot extend')
  const lease: Lease = { ...record.lease, ...change }
  const runtime = context.runtimes.driver(record.runtime)
  if (runtime !== undefined)
    refuseUnsupportedStop(lease, {
      driver: runtime,
      capabilities: await context.runtimes.capabilities(record.runtime),
    })
  const { unixMs, action } = hostDeadlineOf(lease)
  // What stands frozen has no end, and gets one when it is resumed.
  const live = record.state === 'running' ? context.live.get(record.id) : undefined
  if (live?.standing === false)
    await live.machine.setDeadline(unixMs, action, AbortSignal.timeout(machineLimits.probeMs))
  const now = recordOf(context, record.id)
  if (now.ended !== null || now.state === 'deleting') throw endedError(now, 'cannot extend')
  transition(context, now, { lease: { ...now.lease, ...change } }, { type: 'lease', data: { ...change } })
}

/** Never shortened; one that ran out while it was paused begins anew. */
export const leaseAtResume = (context: Context, { id, ...record }: SandboxRecord): Lease => {
  const now = context.clock.now()
  const lease = context.records.sandboxes.get(id)?.lease ?? record.lease
  return lease.expiresAtMs > now ? lease : { ...lease, expiresAtMs: now + lease.timeoutMs }
}

/** A lease that was changed on the way to `running` has not reached the host, which was given an older one. */
export const bindLease = async (context: Context, live: Live, given: Lease): Promise<void> => {
  const lease = context.records.sandboxes.get(live.id)?.lease
  if (lease === undefined) return
  const [wanted, had] = [hostDeadlineOf(lease), hostDeadlineOf(given)]
  if (wanted.unixMs === had.unixMs && wanted.action === had.action) return
  await live.machine.setDeadline(wanted.unixMs, wanted.action, AbortSignal.timeout(machineLimits.probeMs))
}
