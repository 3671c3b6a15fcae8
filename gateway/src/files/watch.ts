import { AtollError, type GuestResponse, watchEventSchema } from '@atoll/protocol'
import { asciiJson, beginStream } from '../answer.ts'
import { askGuest } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { lineWriter } from '../processes/event-lines.ts'
import { fileQuery } from './query.ts'

/** Changes below a path as NDJSON, until the client leaves. A watch that breaks says so in its last line. */
export const watchFiles = async (call: Call): Promise<void> => {
  const { response, deps } = call
  const answer = await askGuest(call, {
    method: 'GET',
    path: `/v1/files/watch?${fileQuery(call, ['recursive'])}`,
    signal: call.gone,
    holder: { kind: 'connection', name: 'watch' },
  })
  beginStream(response, 200, { 'content-type': 'application/x-ndjson' })
  using writer = lineWriter(response, deps.clock, deps.limits.heartbeatMs)
  try {
    for await (const lines of whole(answer.body, deps.limits.watchLineBytes)) {
      await writer.write(
        lines.map((line) => `${asciiJson(watchEventSchema.parse(JSON.parse(line)))}\n`).join(''),
      )
      if (call.gone.aborted) return
    }
    throw new AtollError('stream_broken', 'the guest ended the watch')
  } catch (error) {
    if (call.gone.aborted) return
    const told = new AtollError(
      'stream_broken',
      `the watch broke: ${error instanceof AtollError ? error.message : 'not readable'}; look at the files anew and watch again`,
    )
    response.end(`${asciiJson({ type: 'error', error: told.toBody() })}\n`)
  } finally {
    answer.body.destroy()
  }
}

/** Whole lines of a stream, a bounded rest in hand. */
const whole = async function* (body: GuestResponse['body'], maxLineBytes: number): AsyncGenerator<string[]> {
  let rest = Buffer.alloc(0)
  for await (const chunk of body) {
    const data = Buffer.concat([rest, chunk])
    const end = data.lastIndexOf(10) + 1
    rest = data.subarray(end)
    if (rest.length > maxLineBytes)
      throw new AtollError('stream_broken', `a line is over ${maxLineBytes} bytes`)
    const lines = data
      .subarray(0, end)
      .toString()
      .split('\n')
      .filter((line) => line !== '')
    if (lines.length > 0) yield lines
  }
}
