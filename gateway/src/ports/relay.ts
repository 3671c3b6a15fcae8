import { type ClientRequest, type IncomingMessage, request as ask, type ServerResponse } from 'node:http'
import { AtollError } from '@atoll/protocol'
import { drained } from '../drain.ts'
import { faultOf, limitAnswer } from './answer-limits.ts'
import type { Pool } from './pool.ts'
import type { PortDeps, PortTarget } from './port-deps.ts'
import { hasBody, pairs, sendBody } from './request-body.ts'
import { headersInward } from './request-headers.ts'
import { headersOutward } from './response-headers.ts'
import { silenceTimer } from './silence.ts'

export interface Exchange {
  readonly target: PortTarget
  readonly maskHost: boolean
  /** Path and query for the server inside. */
  readonly path: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** Carries one request in and its answer out, both streamed. Rejects before the answer began, else cuts it. */
export const relay = async (deps: PortDeps, pool: Pool, exchange: Exchange): Promise<void> => {
  const { request, response } = exchange
  for (let attempt = 0; ; attempt++) {
    const inner = begin(deps, pool, exchange)
    const leave = (): void => void inner.destroy()
    response.once('close', leave)
    try {
      const answer = await answerOf(deps, exchange, inner)
      await carry(deps, exchange, answer)
      return
    } catch (error) {
      inner.destroy()
      // The server inside closed a kept connection in the moment that we used it: nobody saw the request.
      const unseen = inner.reusedSocket && attempt === 0 && isRepeatable(request)
      if (!unseen || response.headersSent || response.destroyed) throw error
    } finally {
      response.off('close', leave)
    }
  }
}

/** Nothing was read of its body, because it has none, and doing it twice is as doing it once. */
const isRepeatable = (request: IncomingMessage): boolean =>
  (request.method === 'GET' || request.method === 'HEAD') && !hasBody(request)

const begin = (deps: PortDeps, pool: Pool, { target, maskHost, path, request }: Exchange): ClientRequest => {
  const headers = headersInward(request, target, maskHost)
  const { expect, 'content-length': length } = request.headers
  if (expect !== undefined) headers.push('Expect', expect)
  // How the body was framed on the client's connection is that connection's; over HTTP/2 it needs no length at all.
  if (hasBody(request)) {
    if (length === undefined) headers.push('Transfer-Encoding', 'chunked')
  } else if (length === undefined && !withoutBody.has(request.method ?? 'GET'))
    headers.push('Content-Length', '0')
  return ask({
    agent: pool.agent,
    host: target.sandbox,
    port: target.port,
    method: request.method ?? 'GET',
    path,
    headers,
    maxHeaderSize: deps.limits.answerHeaderBytes,
  })
}

/** Methods that say nothing of a body when they say nothing. */
const withoutBody = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE'])

/** The answer's head; the body of the request goes in meanwhile. */
const answerOf = async (
  deps: PortDeps,
  { target, request, response }: Exchange,
  inner: ClientRequest,
): Promise<IncomingMessage> => {
  using _limit = limitAnswer(deps, target, inner)
  return await new Promise((resolve, reject) => {
    inner.once('response', resolve)
    inner.once('error', reject)
    inner.once('close', () =>
      reject(
        response.destroyed
          ? new AtollError('canceled', 'the client went away')
          : faultOf('stream_broken', target, 'gave no answer to this request'),
      ),
    )
    sendBody(deps, { request, response, inner })
  })
}

/** The answer itself. What breaks is cut, so that nobody takes the part for the whole. */
const carry = async (deps: PortDeps, exchange: Exchange, answer: IncomingMessage): Promise<void> => {
  const { request, response, target, maskHost } = exchange
  // An HTTP/2 response of Node does not tell by a property that it was closed.
  let closed = false
  response.once('close', () => void (closed = true))
  using silence = silenceTimer(deps.limits.silenceMs, () => void answer.destroy())
  try {
    const headers = headersOutward(answer, target, maskHost)
    const status = answer.statusCode ?? 502
    if (request.httpVersionMajor === 2) response.writeHead(status, headers)
    else response.writeHead(status, answer.statusMessage ?? '', headers)
    response.flushHeaders()
    for await (const chunk of answer) {
      silence.seen()
      if (!response.write(chunk) && !closed) await drained(response)
    }
    if (!answer.complete) throw new AtollError('stream_broken', 'the answer ended early')
    if (answer.rawTrailers.length > 0) response.addTrailers(pairs(answer.rawTrailers))
    response.end()
    linger(deps, request, response)
  } catch (error) {
    response.destroy()
    throw error
  }
}

/** A client that goes on sending to an answered request gets a moment, and then an end. */
const linger = (deps: PortDeps, request: IncomingMessage, response: ServerResponse): void => {
  if (request.complete) return
  response.once('finish', () => {
    const timer = setTimeout(() => {
      if (!request.complete) request.destroy()
    }, deps.limits.lingerMs)
    timer.unref()
  })
}
