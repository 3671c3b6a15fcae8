import type { ServerResponse } from 'node:http'
import { AtollError } from '@atoll/protocol'
import type { Logger } from './call.ts'

const common = { 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' }

/** Answers with JSON. */
export const sendJson = (response: ServerResponse, status: number, value: unknown): void => {
  const text = JSON.stringify(value)
  response.writeHead(status, {
    ...common,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  })
  response.end(text)
}

/** Begins an answer that is streamed. */
export const beginStream = (
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
): void => {
  response.writeHead(status, { ...common, ...headers })
  response.flushHeaders()
}

/** Any thrown thing as the one error; what is foreign stays in the log. */
export const toAtollError = (thrown: unknown, logger: Logger, traceId: string): AtollError => {
  if (thrown instanceof AtollError) return thrown
  const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)
  logger.error({ traceId, error: text }, 'a guest call met a fault of ours')
  return new AtollError('internal', 'a fault of ours: try again, and report the traceId when it stays')
}

/** Answers with the envelope; once the answer has begun, the only truth left is to cut it. */
export const sendError = (response: ServerResponse, error: AtollError, traceId: string): void => {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  for (const [name, value] of Object.entries(errorHeaders(error, traceId))) response.setHeader(name, value)
  // What is left of a request body is not worth reading: the connection ends with the answer.
  if (!response.req.complete) response.setHeader('connection', 'close')
  sendJson(response, error.status, error.toBody(traceId))
}

/** The headers that go with an error. */
export const errorHeaders = (error: AtollError, traceId: string): Record<string, string> => {
  const waitMs = error.details?.['retryAfterMs']
  return {
    'x-atoll-trace-id': traceId,
    ...(typeof waitMs === 'number' ? { 'retry-after': String(Math.max(1, Math.ceil(waitMs / 1_000))) } : {}),
    ...(error.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer' } : {}),
  }
}

/** Non-ASCII escaped: clients that split lines at U+2028, or bytes in mid-character, cannot go wrong. */
export const asciiJson = (value: unknown): string =>
  JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
