import { totalmem } from 'node:os'
import { sandboxLimits } from '@atoll/protocol'
import type { Context } from '../machines/context.ts'
import { poolLimits } from './limits.ts'
import type { Shelf } from './state.ts'

/** What a shelf should hold, and what it holds. */
export interface Wanted {
  readonly shelf: Shelf
  readonly members: number
  readonly blanks: number
}

/**
 * How many machines each shelf should hold: the most that were wanted within one window of the last minutes, at
 * least the operator's minimum, all together within the pool's count and memory. Last wanted goes first. The
 * minimum is the operator's word and not cut by the memory budget; a host that runs low empties all.
 */
export const wantedOf = (context: Context, hostIsLow: boolean): Wanted[] => {
  const { options, pool } = context
  const shelves = [...pool.shelves.values()].toSorted((one, other) => other.lastWantedMs - one.lastWantedMs)
  let budgetBytes = budgetOf(context)
  let places = options.poolMax
  return shelves.map((shelf, rank) => {
    const least = minimumOf(context, shelf)
    // Whoever asks for ever other disk sizes has the last few of them waiting, not all.
    if (hostIsLow || (least === 0 && rank >= poolLimits.shelves)) return { shelf, members: 0, blanks: 0 }
    const each = memberBytesOf(shelf)
    const affordable = Math.max(least, Math.floor(Math.max(0, budgetBytes) / each))
    const members = Math.min(places, affordable, Math.max(least, peakOf(context, shelf)))
    places -= members
    budgetBytes -= members * each
    const isInUse = options.poolMax > 0 && (least > 0 || shelf.demand.size > 0)
    const isFirst = rank === 0 || least > 0
    const blanks = isInUse && (isFirst || budgetBytes > 0) ? poolLimits.blanks : 0
    budgetBytes -= blanks * each
    return { shelf, members, blanks }
  })
}

/** The operator's minimum, of images that are kept warm, at the default disk size. */
export const minimumOf = ({ options }: Context, { key, isWarm }: Shelf): number =>
  isWarm && key.diskMib === sandboxLimits.diskMib.default ? Math.min(options.poolMin, options.poolMax) : 0

/** Most creates of one window that is remembered; forgets older ones. */
const peakOf = ({ clock }: Context, { demand }: Shelf): number => {
  const oldest = Math.floor((clock.monotonic() - poolLimits.demandKeptMs) / poolLimits.demandWindowMs)
  let peak = 0
  for (const [window, count] of demand) {
    if (window < oldest) demand.delete(window)
    else peak = Math.max(peak, count)
  }
  return peak
}

const budgetOf = ({ options }: Context): number =>
  (options.poolMemoryMib ?? Math.floor(totalmem() / 10 / 1024 ** 2)) * 1024 ** 2

/** What a member of this shelf was measured to hold. */
const memberBytesOf = ({ ready }: Shelf): number => {
  if (ready.length === 0) return poolLimits.memberBytes
  return Math.max(1, ready.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0) / ready.length)
}
