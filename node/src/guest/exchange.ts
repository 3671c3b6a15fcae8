import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { AtollError, type GuestRequest, type GuestResponse } from '@atoll/protocol'
import { guestFault, resetName, sourceFault } from './faults.ts'
import { guestLimits } from './limits.ts'
import { responseBody } from './response-body.ts'
import { sendBody, sizeTrailer } from './send-body.ts'
import type { Watched } from './watch-session.ts'

/** The headers of an agent's answer that anyone needs: the rest is hostile data and stays behind. */
const passedHeaders = ['content-type', 'content-length', 'content-range', 'accept-ranges'] as const

/** Sends one request and resolves at the answer's headers. */
export const exchange = (
  session: Watched,
  request: GuestRequest,
  onClosed?: () => void,
): Promise<GuestResponse> => {
  const act = `cannot ask the guest for ${request.method} ${request.path.split('?', 1)[0]}`
  return new Promise((resolve, reject) => {
    if (request.signal?.aborted === true) throw new AtollError('canceled', `${act}: the caller went away`)
    const stream = begin(session, request, act)
    session.watch.begin()
    let fault: AtollError | undefined
    const abandon = (error: AtollError): void => {
      fault ??= error
      // With an error, so that the reset says INTERNAL_ERROR: hyper takes a body that ends by CANCEL or
      // NO_ERROR for whole. And close() under a running pipeline never returns (Node 24.21, measured).
      stream.destroy(error)
    }
    const onAbort = (): void => abandon(new AtollError('canceled', `${act}: the caller went away`))
    const headersMs = request.headersTimeoutMs ?? guestLimits.headersTimeoutMs
    const late = setTimeout(
      () => abandon(new AtollError('deadline_node', `${act}: no answer within ${headersMs} ms; try again`)),
      headersMs,
    )
    request.signal?.addEventListener('abort', onAbort, { once: true })
    const why = (error: unknown, stage: 'headers' | 'body'): AtollError =>
      fault ?? session.fault() ?? guestFault(act, error, stage)

    stream.once('response', (headers) => {
      clearTimeout(late)
      resolve({
        status: Number(headers[':status']),
        headers: passed(headers),
        body: responseBody(
          stream,
          headers['content-length'],
          () => session.http2.destroyed,
          (error) => why(error, 'body'),
        ),
      })
    })
    stream.once('error', (error) => reject(why(error, 'headers')))
    stream.once('close', () => {
      clearTimeout(late)
      request.signal?.removeEventListener('abort', onAbort)
      session.watch.end()
      onClosed?.()
      reject(why(new Error(`the stream was reset: ${resetName(stream.rstCode ?? 0)}`), 'headers'))
    })
    if (request.body !== undefined)
      sendBody(request.body, stream, (error) => abandon(sourceFault(act, error)))
  })
}

const begin = (session: Watched, request: GuestRequest, act: string): ClientHttp2Stream => {
  const headers: OutgoingHttpHeaders = {
    ...request.headers,
    ':method': request.method,
    ':path': request.path,
  }
  const { body } = request
  if (body instanceof Uint8Array) headers['content-length'] = String(body.byteLength)
  const waitForTrailers = body !== undefined && isUploadOfUnknownSize(request.method, headers)
  if (waitForTrailers) headers['trailer'] = sizeTrailer
  try {
    return session.http2.request(headers, { endStream: body === undefined, waitForTrailers })
  } catch (error) {
    throw guestFault(act, error, 'headers')
  }
}

/** node:http2 ends the body of a request that is cancelled: the agent must be able to tell the part from the whole. */
const isUploadOfUnknownSize = (method: string, headers: OutgoingHttpHeaders): boolean =>
  method === 'PUT' && headers['content-length'] === undefined && headers[sizeTrailer] === undefined

const passed = (headers: IncomingHttpHeaders): Record<string, string> => {
  const kept: Record<string, string> = {}
  for (const name of passedHeaders) {
    const value = headers[name]
    if (typeof value === 'string') kept[name] = value
  }
  for (const [name, value] of Object.entries(headers))
    if (name.startsWith('x-atoll-') && typeof value === 'string') kept[name] = value
  return kept
}
