import { AtollError } from '@atoll/protocol'
import { askGuest } from '../ask-guest.ts'
import type { GuestCall } from '../call.ts'
import { unboundedHeadersMs } from '../limits.ts'
import type { Start } from './start-request.ts'

/** Writes the given input and closes it. A process that reads no further is none of our faults. */
export const writeInput = async (call: GuestCall, start: Start, signal?: AbortSignal): Promise<void> => {
  try {
    const answer = await askGuest(call, {
      method: 'POST',
      path: `/v1/processes/${start.id}/stdin?close=1`,
      body: Buffer.from(start.body.input ?? '', 'base64'),
      headersTimeoutMs: unboundedHeadersMs,
      ...(signal === undefined ? {} : { signal }),
    })
    answer.body.destroy()
  } catch (error) {
    const over =
      error instanceof AtollError &&
      ['stdin_closed', 'process_ended', 'process_not_found'].includes(error.code)
    if (!over && signal?.aborted !== true) throw error
  }
}
