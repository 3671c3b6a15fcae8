import type { Context } from '../machines/context.ts'
import { poolLimits } from './limits.ts'
import { type MachineKey, shelfOf, type Unclaimed } from './state.ts'

/** Takes a frozen machine whose guest answered, in this turn, or none. Whoever has it disposes it. */
export const take = (context: Context, key: MachineKey): Unclaimed | undefined => {
  const member = shelfOf(context.pool, key).ready.shift()
  if (member !== undefined) context.pool.wake()
  return member?.unclaimed
}

/** Notes that someone wants a machine of that key: the pool's size follows. */
export const noteDemand = (context: Context, key: MachineKey): void => {
  const shelf = shelfOf(context.pool, key)
  const now = context.clock.monotonic()
  const window = Math.floor(now / poolLimits.demandWindowMs)
  shelf.demand.set(window, (shelf.demand.get(window) ?? 0) + 1)
  shelf.lastWantedMs = now
  context.pool.wantedMs = now
}

/** True while there is one to take. */
export const isStocked = (context: Context, key: MachineKey): boolean =>
  shelfOf(context.pool, key).ready.length > 0
