import type { AtollError } from '@atoll/protocol'
import { errorFromAbort, isAtollError } from './faults.ts'
import { pause } from './retry.ts'

/** Breaks in a row, without anything new in between, after which a stream is given up. */
const maxBreaksInARow = 6
const firstWaitMs = 50
const maxWaitMs = 5_000

const broken = new Set(['stream_broken', 'guest_unreachable', 'node_unreachable'])

/** True for a failure after which the same stream can be taken up again. */
export const isBreak = (error: unknown): error is AtollError => isAtollError(error) && broken.has(error.code)

/**
 * Runs one stream over as many connections as it takes. `open` gives the next part from where the last one broke;
 * its return value ends the whole. What breaks too often in a row without progress is thrown.
 */
export async function* resuming<T, R>(
  open: () => AsyncGenerator<T, R, undefined>,
  act: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, R, undefined> {
  let breaks = 0
  for (;;) {
    try {
      const part = open()
      let step = await part.next()
      try {
        while (step.done !== true) {
          breaks = 0
          yield step.value
          step = await part.next()
        }
        return step.value
      } finally {
        if (step.done !== true) await part.return(undefined as R)
      }
    } catch (error) {
      if (signal?.aborted === true) throw errorFromAbort(signal, act)
      if (!isBreak(error) || ++breaks >= maxBreaksInARow) throw error
      await pause(Math.min(maxWaitMs, firstWaitMs * 2 ** breaks), signal)
    }
  }
}
