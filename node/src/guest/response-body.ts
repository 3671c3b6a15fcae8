import type { ClientHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { guestLimits } from './limits.ts'

/**
 * The body of an answer as a Readable whose faults are AtollErrors.
 *
 * node:http2 ends streams that were lost as if they were whole (Node 24.21, measured): told apart here, and what
 * was announced is counted.
 */
export const responseBody = (
  stream: ClientHttp2Stream,
  announced: string | undefined,
  isLost: () => boolean,
  toFault: (error: unknown) => Error,
): Readable => {
  const wanted = announced === undefined ? undefined : Number(announced)
  let received = 0
  let ended = false
  const body = new Readable({
    highWaterMark: guestLimits.bodyBufferBytes,
    read: () => void stream.resume(),
    destroy: (error, callback) => {
      if (!ended && error === null) leave(stream)
      // With an error and not by close(), see exchange.ts.
      else if (!ended) stream.destroy(error ?? undefined)
      callback(error)
    },
  })
  // A reader learns of the fault by reading; a body that nobody reads must not end the daemon.
  body.on('error', () => undefined)
  const fail = (error: unknown): void => {
    if (!ended && !body.destroyed) body.destroy(toFault(error))
  }
  stream.pause()
  stream.on('data', (chunk: Buffer) => {
    received += chunk.length
    if (!body.destroyed && !body.push(chunk)) stream.pause()
  })
  stream.once('end', () => {
    // A session that is lost ends its streams as if they were whole, destroying them first.
    if (stream.destroyed && isLost()) return fail(new Error('the session was lost'))
    if (wanted !== undefined && received !== wanted)
      return fail(new Error(`${received} of ${wanted} bytes came`))
    ended = true
    if (!body.destroyed) body.push(null)
  })
  stream.once('error', fail)
  stream.once('close', () => fail(new Error('the stream was closed')))
  return body
}

/**
 * A reader that has what it wanted leaves just before the stream's end, as a rule. What still comes is dropped for a
 * moment: a reset at once would make the agent's last frames invalid ones, of which a session endures a number.
 */
const leave = (stream: ClientHttp2Stream): void => {
  const reset = (): void => void stream.destroy(new Error('the reader went away'))
  const timer = setTimeout(reset, guestLimits.lingerMs)
  timer.unref()
  let dropped = 0
  stream.on('data', (chunk: Buffer) => {
    dropped += chunk.length
    if (dropped > guestLimits.lingerBytes) reset()
  })
  stream.once('close', () => clearTimeout(timer))
  stream.resume()
}
