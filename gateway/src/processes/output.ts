import { AtollError, errorFromBody } from '@atoll/protocol'
import { beginStream } from '../answer.ts'
import { askGuest } from '../ask-guest.ts'
import type { Call, GuestCall } from '../call.ts'
import { drained } from '../drain.ts'
import { explainBreak } from './explain-break.ts'
import { outputEvents, type ProcessEvent } from './output-events.ts'
import { streamEvents } from './run-streamed.ts'

/** Output from an offset, as events or as the bytes alone. */
export const readOutput = async (call: Call): Promise<void> => {
  const follow = call.query.get('follow') === '1'
  const events = await openOutput(call, call.names[0] ?? '', follow, call.gone)
  if ((call.request.headers.accept ?? '').includes('application/octet-stream'))
    await streamBytes(call, events)
  else await streamEvents(call, events, 200)
}

/** Opens a process's output at the query's offset. */
export const openOutput = async (
  call: GuestCall,
  id: string,
  follow: boolean,
  signal: AbortSignal,
): Promise<AsyncGenerator<readonly ProcessEvent[]>> => {
  const offset = call.query.get('offset')
  if (offset !== null && !/^\d{1,15}$/.test(offset))
    throw new AtollError('invalid_request', 'offset: must be a whole number of bytes from 0')
  const query = `follow=${follow ? 1 : 0}${offset === null ? '' : `&offset=${offset}`}`
  const answer = await askGuest(call, {
    method: 'GET',
    path: `/v1/processes/${id}/output?${query}`,
    signal,
    ...(follow ? { holder: { kind: 'connection' as const, name: `output of ${id}` } } : {}),
  })
  return explainBreak(call, outputEvents(answer.body, follow, call.deps.limits, signal))
}

/** Bytes cannot say that some are missing: then the answer is cut, and does not end well. */
const streamBytes = async (call: Call, events: AsyncGenerator<readonly ProcessEvent[]>): Promise<void> => {
  const { response } = call
  let dropped = 0
  let begun = false
  for await (const batch of events)
    for (const event of batch) {
      if (event.type === 'gap' && !begun) dropped += event.to - event.from
      else if (event.type === 'gap' || event.type === 'evicted') return void response.destroy()
      else if (event.type === 'error') throw errorFromBody(event.error, 502, 'cannot read the output')
      if (!('bytes' in event) && event.type !== 'exit' && event.type !== 'end') continue
      if (!begun)
        beginStream(response, 200, {
          'content-type': 'application/octet-stream',
          'x-atoll-dropped-bytes': String(dropped),
        })
      begun = true
      if (!('bytes' in event)) return void response.end()
      if (!response.write(event.bytes)) await drained(response)
      if (call.gone.aborted) return
    }
}
