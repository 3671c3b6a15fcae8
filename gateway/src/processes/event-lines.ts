import type { ServerResponse } from 'node:http'
import type { Clock } from '@atoll/kit'
import { asciiJson } from '../answer.ts'
import { drained } from '../drain.ts'
import type { ProcessEvent } from './output-events.ts'

/** Events as NDJSON. */
export const toLines = (events: readonly ProcessEvent[]): string => {
  let text = ''
  for (const event of events)
    text +=
      'bytes' in event
        ? `{"type":"${event.type}","offset":${event.offset},"data":"${base64(event.bytes)}"}\n`
        : `${asciiJson(event)}\n`
  return text
}

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

/**
 * Writes lines at the reader's pace, and a heartbeat in silence. A reader that takes nothing gets no
 * heartbeats on top: what waits for it is one batch and the socket's own buffer.
 */
export const lineWriter = (response: ServerResponse, clock: Clock, heartbeatMs: number) => {
  const timer = setTimeout(() => {
    if (!response.writableNeedDrain && !response.destroyed)
      response.write(`${JSON.stringify({ type: 'heartbeat', atMs: clock.now() })}\n`)
    timer.refresh()
  }, heartbeatMs)
  return {
    async write(lines: string): Promise<void> {
      timer.refresh()
      if (!response.write(lines)) await drained(response)
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}
