import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import { Http2ServerRequest } from 'node:http2'
import type { PortDeps } from './port-deps.ts'

interface Way {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly inner: ClientRequest
}

/** True for a request that has a body, or may have one. */
export const hasBody = (request: IncomingMessage): boolean => {
  // node:http2 shows its requests as node:http's.
  const either: unknown = request
  if (either instanceof Http2ServerRequest) return !either.stream.endAfterHeaders
  return (
    request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0
  )
}

/** Sends a request's body in, trailers and all. One announced by `Expect` waits for the leave of the server inside. */
export const sendBody = (deps: PortDeps, way: Way): void => {
  const { request, response, inner } = way
  if (!hasBody(request)) {
    inner.end()
    return
  }
  if (request.headers.expect === undefined) {
    stream(way)
    return
  }
  let begun = false
  const begin = (): void => {
    clearTimeout(late)
    if (begun || inner.destroyed || response.headersSent) return
    begun = true
    response.writeContinue()
    stream(way)
  }
  // Old servers know nothing of it: then the body goes out without leave, as RFC 9110 (10.1.1) has it.
  const late = setTimeout(begin, deps.limits.expectMs)
  inner.once('continue', begin)
  inner.once('response', () => clearTimeout(late))
  inner.once('close', () => clearTimeout(late))
  inner.flushHeaders()
}

/**
 * By hand and not by pipeline(): an answer may come before the body has ended, and a server that then reads no more
 * must not take the client's connection with it.
 */
const stream = ({ request, inner }: Way): void => {
  request.on('end', () => {
    const trailers = pairs(request.rawTrailers)
    if (trailers.length > 0) inner.addTrailers(trailers)
    inner.end()
  })
  request.once('close', () => {
    // Half a body is no body: the server inside must see a cut and not an end.
    if (!request.complete) inner.destroy()
  })
  inner.once('close', () => {
    request.unpipe(inner)
    request.resume()
  })
  request.pipe(inner, { end: false })
}

/** A flat list of names and values as pairs. */
export const pairs = (raw: readonly string[]): [string, string][] => {
  const found: [string, string][] = []
  for (let index = 0; index + 1 < raw.length; index += 2) found.push([raw[index] ?? '', raw[index + 1] ?? ''])
  return found
}
