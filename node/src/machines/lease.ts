import { AtollError, type Lease } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import type { Runtime } from './runtimes.ts'
import { transition } from './transition.ts'

/** A promise to keep the disk is refused where the runtime cannot keep it (invariant 11). */
export const refuseUnsupportedStop = (lease: Lease, { driver, capabilities }: Runtime): void => {
  if (capabilities.diskStop) return
  const asked = [
    lease.onTimeout === 'stop' ? 'onTimeout' : undefined,
    lease.idle?.action === 'stop' ? 'idle.action' : undefined,
    lease.onHostLost === 'stop' ? 'onHostLost' : undefined,
  ].filter((name) => name !== undefined)
  if (asked.length === 0) return
  throw new AtollError(
    'unsupported',
    `cannot promise ${asked.join(', ')} "stop": runtime ${driver.name} keeps no disk without its memory; ask for "delete" or for a runtime with diskStop`,
    { remedy: 'ask for "delete", or name a runtime whose notes say that it can stop' },
  )
}

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
  await context.live
    .get(record.id)
    ?.machine.setDeadline(
      lease.expiresAtMs + machineLimits.hostDeadlineGraceMs,
      AbortSignal.timeout(machineLimits.probeMs),
    )
  transition(context, record, { lease }, { type: 'lease', data: { ...change } })
}
