import { AtollError } from '@atoll/protocol'
import type { GuestCall } from '../call.ts'
import { errorEvent, type ProcessEvent } from './output-events.ts'

const breaks: ReadonlySet<unknown> = new Set(['stream_broken', 'guest_unreachable'])

/**
 * A stream that broke because its sandbox was paused or stopped says so: a client that took it up again at once
 * would wake what somebody just put to rest.
 */
export const explainBreak = async function* (
  call: GuestCall,
  events: AsyncGenerator<readonly ProcessEvent[]>,
): AsyncGenerator<readonly ProcessEvent[]> {
  for await (const batch of events) {
    const last = batch.at(-1)
    if (last?.type !== 'error' || !breaks.has(last.error['code'])) yield batch
    else yield [...batch.slice(0, -1), (await restOf(call)) ?? last]
  }
}

const restOf = async (call: GuestCall): Promise<ProcessEvent | undefined> => {
  const seen = await call.node.get(call.sandbox).catch(() => undefined)
  if (seen === undefined || !/^(paus|stopp)/.test(seen.state)) return undefined
  const resting = seen.state.startsWith('paus')
  return errorEvent(
    new AtollError(
      'state_conflict',
      resting
        ? `the output of sandbox ${call.sandbox} ended: it was paused; resume it and follow the process again from the last offset`
        : `the output of sandbox ${call.sandbox} ended: it was stopped, and its processes with it`,
      { sandboxState: seen.state },
    ),
  )
}
