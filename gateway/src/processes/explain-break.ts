import { setTimeout as delay } from 'node:timers/promises'
import { AtollError, type SandboxState } from '@atoll/protocol'
import type { GuestCall } from '../call.ts'
import { errorEvent, type ProcessEvent } from './output-events.ts'

/** Between two looks at a sandbox that is on its way to rest, ms. */
const lookAgainMs = 20

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
  const state = await settledState(call)
  if (state !== 'paused' && state !== 'stopped') return undefined
  return errorEvent(
    new AtollError(
      'state_conflict',
      state === 'paused'
        ? `the output of sandbox ${call.sandbox} ended: it was paused; resume it and follow the process again from the last offset`
        : `the output of sandbox ${call.sandbox} ended: it was stopped, and its processes with it`,
      { sandboxState: state },
    ),
  )
}

/** A pause may still fail, and then the sandbox runs on: its end is waited for, and not for ever. */
const settledState = async (call: GuestCall): Promise<SandboxState | undefined> => {
  const { clock, limits } = call.deps
  const untilMs = clock.monotonic() + limits.restSettleMs
  for (;;) {
    const seen = await call.node.get(call.sandbox).catch(() => undefined)
    const isOnItsWay = seen?.state === 'pausing' || seen?.state === 'stopping'
    if (!isOnItsWay || clock.monotonic() > untilMs || call.gone.aborted) return seen?.state
    await delay(lookAgainMs)
  }
}
