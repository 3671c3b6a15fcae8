import { limits as shared, type IdlePolicy, type Lease, type Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'

/** Moves the deadline to `timeoutMs` from now, never nearer: the answer says what is in force. */
export const extendSandbox = (
  context: Context,
  caller: Caller,
  id: string,
  timeoutMs: number,
): Promise<Sandbox> =>
  changeLease(context, caller, id, 'extend', (current) => {
    const expiresAtMs = context.clock.now() + Math.min(timeoutMs, shared.timeoutMaxMs)
    return expiresAtMs > current ? { expiresAtMs } : undefined
  })

export interface LeaseChange {
  readonly idle?: IdlePolicy | null | undefined
  readonly onTimeout?: Lease['onTimeout'] | undefined
  readonly autoResume?: boolean | undefined
}

/** Changes what idleness, the deadline and a call to a paused one do. */
export const leaseSandbox = (
  context: Context,
  caller: Caller,
  id: string,
  change: LeaseChange,
): Promise<Sandbox> =>
  changeLease(context, caller, id, 'change the lease of', () => ({
    ...(change.idle === undefined ? {} : { idle: change.idle }),
    ...(change.onTimeout === undefined ? {} : { onTimeout: change.onTimeout }),
    ...(change.autoResume === undefined ? {} : { autoResume: change.autoResume }),
  }))

/** Reads, decides and sets in one turn: two extensions at once cannot shorten each other. */
const changeLease = async (
  context: Context,
  caller: Caller,
  id: string,
  act: string,
  decide: (expiresAtMs: number) => Partial<Lease> | undefined,
): Promise<Sandbox> => {
  const found = await findSandbox(context, caller, id)
  return await context.turns.take(id, async () => {
    const row = await probe(context, found)
    refuseEnded(row, act)
    const lease = decide(row.expires_at_ms)
    if (lease === undefined) return viewSandbox(row)
    const seen = await context.node.setLease(id, lease)
    await recordAct(context, caller, id, 'lease', lease)
    return viewSandbox(await applySeen(context, row, seen))
  })
}
