import { AtollError } from '@atoll/protocol'
import type { Context as HonoContext } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Context } from '../context.ts'
import type { Environment } from './environment.ts'

/** Turns whatever was thrown into the envelope. Foreign errors stay in the log: their text may hold anything. */
export const answerFailure = (context: Context, c: HonoContext<Environment>, thrown: unknown): Response => {
  const traceId = c.get('traceId')
  const error = toAtollError(thrown)
  if (error.code === 'internal')
    context.logger.error(
      { traceId, path: c.req.path, error: describe(thrown) },
      'a request met a fault of ours',
    )
  const waitMs = error.details?.['retryAfterMs']
  if (typeof waitMs === 'number') c.header('retry-after', String(Math.max(1, Math.ceil(waitMs / 1_000))))
  if (error.code === 'unauthenticated') c.header('www-authenticate', 'Bearer')
  return c.json(error.toBody(traceId), statusOf(error))
}

// 499 is outside of what fetch's Response and Hono's types know as an error, and is a plain number to HTTP.
const statusOf = (error: AtollError): ContentfulStatusCode => error.status as ContentfulStatusCode

const toAtollError = (thrown: unknown): AtollError => {
  if (thrown instanceof AtollError) return thrown
  if (thrown instanceof HTTPException && thrown.status === 400)
    return new AtollError('invalid_request', 'body: is not well-formed JSON; send a JSON object')
  if (thrown instanceof HTTPException && thrown.status === 413)
    return new AtollError('payload_too_large', 'the body is over its limit; send less')
  if (thrown instanceof HTTPException && thrown.status === 415)
    return new AtollError('invalid_request', 'content-type: must be application/json')
  if (thrown instanceof HTTPException && thrown.status < 500)
    return new AtollError('invalid_request', `the request was refused: ${thrown.message}`)
  if (thrown instanceof URIError)
    return new AtollError('invalid_request', 'the address has a broken percent escape; encode it anew')
  return new AtollError('internal', 'a fault of ours: try again, and report the traceId when it stays', {
    cause: thrown,
  })
}

const describe = (thrown: unknown): string => {
  if (!(thrown instanceof Error)) return String(thrown)
  const text = thrown.stack ?? thrown.message
  return thrown.cause instanceof Error
    ? `${text}; because: ${thrown.cause.stack ?? thrown.cause.message}`
    : text
}
