import { sandboxLimits } from '@atoll/protocol'
import { readHostRoom } from '../machines/admit.ts'
import type { Context } from '../machines/context.ts'
import { freeMachine } from './begin.ts'
import { fillBlank, fillMember } from './fill.ts'
import { poolLimits } from './limits.ts'
import { reapPool } from './reap.ts'
import { recoverPool } from './recover-pool.ts'
import { type Shelf, shelfOf } from './state.ts'
import { type Wanted, wantedOf } from './target.ts'

/**
 * Keeps the pool at its size, one machine at a time and never while a create waits for more than a claim: what
 * someone waits for has the CPUs. Disposing ends with what is under way; the members stay, frozen.
 */
export const keepPool = (context: Context): AsyncDisposable => {
  const { pool } = context
  let timer: NodeJS.Timeout | undefined
  let isAwake = false
  const look = (): void => {
    clearTimeout(timer)
    if (context.closing.aborted) return
    timer = setTimeout(look, isBusy(context) ? poolLimits.quietMs : poolLimits.tickMs)
    timer.unref()
    if (pool.filling !== undefined || pool.waiting > 0) return
    isAwake = false
    pool.filling = step(context)
      .catch((error: unknown) => {
        if (!context.closing.aborted)
          context.logger.warn({ err: error }, 'the pool could not be kept; again soon')
        return false
      })
      .then((isMore) => {
        pool.filling = undefined
        if (isMore || isAwake) setImmediate(look)
      })
  }
  pool.wake = () => {
    isAwake = true
    // While claims come they have the CPU: the next look is soon enough.
    if (pool.filling !== undefined || context.closing.aborted || isBusy(context)) return
    // Not in this turn: whoever wakes it is answering someone.
    clearTimeout(timer)
    timer = setTimeout(look, 0)
    timer.unref()
  }
  pool.filling = recoverPool(context)
    .then(() => warm(context))
    .catch((error: unknown) => {
      if (!context.closing.aborted) context.logger.error({ err: error }, 'the pool could not be taken back')
    })
    .then(() => {
      pool.filling = undefined
      look()
    })
  return {
    [Symbol.asyncDispose]: async () => {
      clearTimeout(timer)
      await pool.filling
      await Promise.allSettled(pool.making.values())
    },
  }
}

/** Images that are kept warm have their shelf before anyone wants them. */
const warm = async (context: Context): Promise<void> => {
  if (context.options.warmImages.length === 0) return
  const { driver } = await context.runtimes.choose(null)
  for (const imageDigest of context.options.warmImages)
    shelfOf(context.pool, {
      runtime: driver.name,
      imageDigest,
      diskMib: sandboxLimits.diskMib.default,
    }).isWarm = true
}

/** One thing that brings the pool nearer to its size; false when there is none. */
const step = async (context: Context): Promise<boolean> => {
  const now = context.clock.monotonic()
  if (now - context.pool.reapedMs > poolLimits.tickMs) {
    if (await reapPool(context)) return true
    context.pool.reapedMs = now
  }
  const { memoryAvailableBytes } = await readHostRoom(context.dataFolder)
  const reserveBytes = context.options.memoryReserveBytes
  const wanted = wantedOf(context, memoryAvailableBytes < reserveBytes * 2)
  const excess = wanted.find(
    ({ shelf, members, blanks }) => shelf.ready.length > members || shelf.blanks.length > blanks,
  )
  if (excess !== undefined) {
    await trim(context, excess)
    return true
  }
  const lacking = mostLacking(context, wanted)
  if (lacking === undefined) return forgetShelves(context)
  if (isBusy(context)) return false
  await fill(context, lacking)
  context.pool.filledMs = context.clock.monotonic()
  return true
}

/** Claims come one after the other: the next one would share its CPU with a fill. */
const isBusy = ({ pool, clock }: Context): boolean => {
  const now = clock.monotonic()
  return now - pool.wantedMs < poolLimits.quietMs && now - pool.filledMs < poolLimits.quietMaxMs
}

/** The oldest goes. */
const trim = async (context: Context, { shelf, members }: Wanted): Promise<void> => {
  const member = shelf.ready.length > members ? shelf.ready.shift() : undefined
  if (member !== undefined) return await member.unclaimed[Symbol.asyncDispose]()
  const waiting = shelf.blanks.shift()
  if (waiting !== undefined) await freeMachine(context, waiting.machineId, waiting.blank)
}

const mostLacking = (context: Context, wanted: readonly Wanted[]): Wanted | undefined => {
  const now = context.clock.monotonic()
  const lacking = wanted.filter(
    ({ shelf, members, blanks }) =>
      shelf.retryAtMs <= now && (shelf.ready.length < members || shelf.blanks.length < blanks),
  )
  return lacking.toSorted((one, other) => share(one) - share(other))[0]
}

/** How much of what it should hold it holds. */
const share = ({ shelf, members }: Wanted): number => (members === 0 ? 1 : shelf.ready.length / members)

const fill = async (context: Context, { shelf, members }: Wanted): Promise<void> => {
  try {
    const runtime = await context.runtimes.choose(shelf.key.runtime)
    if (shelf.ready.length < members) await fillMember(context, shelf, runtime)
    else if (runtime.capabilities.memorySnapshot) await fillBlank(context, shelf, runtime)
    else shelf.retryAtMs = context.clock.monotonic() + poolLimits.retryAfterMs
  } catch (error) {
    // One image that cannot be had must not keep the others from their share.
    shelf.retryAtMs = context.clock.monotonic() + poolLimits.retryAfterMs
    if (!context.closing.aborted)
      context.logger.warn(
        { image: shelf.key.imageDigest, err: error },
        'a machine for the pool could not be made',
      )
  }
}

/** Keys that nobody wants any more, oldest first beyond the limit. Never one that holds something. */
const forgetShelves = ({ pool }: Context): false => {
  const idle = [...pool.shelves].filter(([, shelf]) => isForgettable(shelf))
  for (const [text] of idle.slice(0, Math.max(0, pool.shelves.size - poolLimits.shelves)))
    pool.shelves.delete(text)
  return false
}

const isForgettable = ({ isWarm, ready, blanks }: Shelf): boolean =>
  !isWarm && ready.length === 0 && blanks.length === 0
