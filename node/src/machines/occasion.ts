import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { knownHolders, lastHeldMs } from './holders.ts'

/**
 * Why the node acts by itself. What was true when it was decided is looked at again when it is the act's turn: in
 * between a call may have begun, or someone may have resumed or extended it.
 */
export interface Occasion {
  /** Who is named as the one who did it. */
  readonly by: 'deadline' | 'idle' | 'node'
  holds(record: SandboxRecord): boolean
}

/** Its time is over. */
export const atDeadline = (context: Context): Occasion => ({
  by: 'deadline',
  holds: ({ state, lease }) => state === 'running' && lease.expiresAtMs <= context.clock.now(),
})

/** Nothing holds it, and has not for long enough. */
export const whileIdle = (context: Context): Occasion => ({
  by: 'idle',
  holds: (record) => {
    const { id, state, lease } = record
    if (state !== 'running' || lease.idle === null || knownHolders(context, id).length > 0) return false
    // A call that holds nothing would hang as well.
    if ((context.live.get(id)?.guest.open ?? 0) > 0) return false
    return lastHeldMs(context, record) + lease.idle.afterMs <= context.clock.now()
  },
})

/** It stands frozen still. */
export const whileFrozen: Occasion = {
  by: 'node',
  holds: ({ state, depth }) => state === 'paused' && depth === 'frozen',
}
