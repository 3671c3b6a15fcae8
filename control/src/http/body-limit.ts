import { AtollError, limits as shared } from '@atoll/protocol'
import type { MiddlewareHandler } from 'hono'
import type { Environment } from './environment.ts'

/**
 * Bounds the body before anyone reads it. Hono's own middleware copies the request in a way that
 * node-server's light Request does not allow; with a length announced nothing needs to be copied at all,
 * since Node's parser holds the client to it.
 */
export const limitBody: MiddlewareHandler<Environment> = async (c, next) => {
  const announced = c.req.header('content-length')
  if (Number(announced ?? 0) > shared.jsonBodyBytes) throw tooLarge()
  if (announced === undefined && c.req.header('transfer-encoding') !== undefined)
    c.req.raw = new Request(c.req.url, {
      method: c.req.method,
      headers: c.req.raw.headers,
      body: await readBounded(c.req.raw.body),
    })
  await next()
}

const readBounded = async (body: ReadableStream<Uint8Array> | null): Promise<Uint8Array<ArrayBuffer>> => {
  const chunks: Uint8Array[] = []
  let received = 0
  for await (const chunk of body ?? []) {
    received += chunk.length
    if (received > shared.jsonBodyBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}

const tooLarge = (): AtollError =>
  new AtollError('payload_too_large', `the body is over ${shared.jsonBodyBytes} bytes; send less`)
