import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import type { GatewayLimits } from './limits.ts'

/**
 * A request's body as a stream of its own. Who consumes it may destroy it (a guest that answers early makes
 * `pipeline` do so) without the client's connection going down before the answer is sent; and a client that
 * leaves in the middle is an error and never an end, so that the guest discards what it has.
 */
export const uploadBody = (
  request: IncomingMessage,
  limits: Pick<GatewayLimits, 'fileBytes' | 'uploadSilenceMs'>,
): Readable => {
  let received = 0
  let wanted = false
  const body = new Readable({
    highWaterMark: 1024 * 1024,
    read() {
      wanted = true
      silence.refresh()
      request.resume()
    },
    destroy(error, done) {
      clearTimeout(silence)
      request.off('data', onData)
      request.pause()
      done(error)
    },
  })
  const silence = setTimeout(() => {
    if (wanted) body.destroy(new AtollError('deadline_client', `no bytes for ${limits.uploadSilenceMs} ms`))
  }, limits.uploadSilenceMs)
  const onData = (chunk: Buffer): void => {
    received += chunk.length
    if (received > limits.fileBytes) {
      body.destroy(
        new AtollError('payload_too_large', `the body is over ${limits.fileBytes} bytes; send less`),
      )
      return
    }
    silence.refresh()
    if (body.push(chunk)) return
    wanted = false
    request.pause()
  }
  request.on('data', onData)
  request.pause()
  request.once('end', () => {
    if (!body.destroyed) body.push(null)
    clearTimeout(silence)
  })
  request.once('close', () => {
    if (!request.complete && !body.destroyed)
      body.destroy(new AtollError('canceled', 'the client went away in the middle of its body'))
  })
  return body
}
