import { beginStream } from '../answer.ts'
import type { Call } from '../call.ts'
import { lineWriter, toLines } from './event-lines.ts'
import { killProcess, startAndFollow } from './follow.ts'
import { isTerminal, type ProcessEvent } from './output-events.ts'
import type { Start } from './start-request.ts'

/** Starts a process and streams its events. A client that leaves does not end it, unless `attached=1`. */
export const runStreamed = async (call: Call, start: Start): Promise<void> => {
  const { status, events } = await startAndFollow(call, start)
  const ended = await streamEvents(call, events, status === 201 ? 201 : 200)
  if (!ended && call.query.get('attached') === '1') await killProcess(call, start.id)
}

/** Writes events as lines until the terminal one; false when the client left before. */
export const streamEvents = async (
  call: Call,
  events: AsyncGenerator<readonly ProcessEvent[]>,
  status: number,
): Promise<boolean> => {
  const { response, deps } = call
  beginStream(response, status, { 'content-type': 'application/x-ndjson' })
  using writer = lineWriter(response, deps.clock, deps.limits.heartbeatMs)
  for await (const batch of events) {
    await writer.write(toLines(batch))
    if (call.gone.aborted) return false
    const last = batch.at(-1)
    if (last === undefined || !isTerminal(last)) continue
    response.end()
    return true
  }
  return false
}
