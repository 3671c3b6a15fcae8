import type { ClientHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { guestLimits } from './limits.ts'

/** What a sender that learns the size as it sends promises to tell after the last byte. */
export const sizeTrailer = 'x-atoll-size'

/**
 * Streams a body with backpressure. `onFault` hears of a source that fails or leaves before its end, and must
 * break the stream, so that the agent discards what it has.
 *
 * Not `pipeline`: that has one chunk under way and waits for the socket before it takes the next one. Several at
 * a time are worth a third of the daemon's time for a transfer (measured, chunks of 64 KiB).
 */
export const sendBody = (
  body: Uint8Array | AsyncIterable<Uint8Array>,
  stream: ClientHttp2Stream,
  onFault: (error: unknown) => void,
): void => {
  if (body instanceof Uint8Array) {
    stream.end(body)
    return
  }
  const source = body instanceof Readable ? body : Readable.from(body, { objectMode: false })
  let sentBytes = 0
  let underWayBytes = 0
  let ended = false
  const isOver = (): boolean => ended || stream.destroyed || stream.closed
  // Sent only after a proper end: destroying the stream takes the promise along.
  stream.once('wantTrailers', () => stream.sendTrailers({ [sizeTrailer]: String(sentBytes) }))
  // The agent may answer and end the exchange without having read all: nobody needs the rest.
  stream.once('close', () => source.destroy())
  source.on('data', (chunk: Uint8Array) => {
    if (isOver()) return
    sentBytes += chunk.length
    underWayBytes += chunk.length
    stream.write(chunk, () => {
      underWayBytes -= chunk.length
      if (underWayBytes < guestLimits.sendingBytes) source.resume()
    })
    if (underWayBytes >= guestLimits.sendingBytes) source.pause()
  })
  source.once('end', () => {
    if (isOver()) return
    ended = true
    stream.end()
  })
  source.once('error', (error) => {
    if (!isOver()) onFault(error)
  })
  source.once('close', () => {
    if (!isOver()) onFault(new Error('the body was closed'))
  })
  if (source.destroyed) onFault(source.errored ?? new Error('the body was closed'))
}
