import { AtollError } from '@atoll/protocol'
import { askContinue, askQuiesce } from '../guest/calls.ts'
import { guestOf } from './boot.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'

/** A guest whose processes stand still. Disposing continues them, unless it was left for good. */
export interface StandStill extends AsyncDisposable {
  /** Answers how long they stood still, ms. Repeatable. */
  goOn(): Promise<number>
  /** What stands still is a copy's by now, and its machine is to end. */
  leave(): void
}

/**
 * Stops every process of the guest for a capture. Whatever happens to the capture or to who asked for it, they
 * are continued with a deadline of their own; should this daemon die, the guest continues them by itself.
 */
export const standStill = async (context: Context, live: Live): Promise<StandStill> => {
  const gate = Promise.withResolvers<void>()
  live.quiet = gate.promise
  const began = context.clock.monotonic()
  let over: Promise<number> | undefined
  const open = (): void => {
    live.quiet = undefined
    gate.resolve()
  }
  const goOn = (): Promise<number> => {
    over ??= askContinue(live.guest, machineLimits.guestReadyMs)
      .then(() => context.clock.monotonic() - began)
      .finally(open)
    return over
  }
  try {
    await askQuiesce(live.guest, machineLimits.quiesceForMs, machineLimits.quiesceMs)
  } catch (error) {
    await goOn().catch(() => undefined)
    throw error
  }
  return {
    goOn,
    leave: () => {
      over ??= Promise.resolve(context.clock.monotonic() - began)
      open()
    },
    [Symbol.asyncDispose]: async () => {
      try {
        await goOn()
      } catch (error) {
        context.logger.error(
          { sandbox: live.id, err: error },
          'the processes of a sandbox could not be continued; its agent does so by itself later',
        )
      }
    },
  }
}

/**
 * Breaks off what is under way, so that nothing is answered as done which the saved state does not have. Later
 * calls go over a new session.
 */
export const breakOff = (context: Context, live: Live, state: 'paused' | 'stopped'): void => {
  const former = live.guest
  live.guest = guestOf(context, live.machine, () => live.id)
  former.close(
    new AtollError('stream_broken', `the exchange with ${live.id} ended: it is being ${state}`, {
      sandboxState: state,
      retryable: false,
      remedy: state === 'paused' ? 'resume it and follow the process from the last offset' : 'start it again',
    }),
  )
}
