import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { AtollError } from '@atoll/protocol'
import type { z } from 'zod'
import { guestLimits } from '../../../guest/limits.ts'
import type { GuestState } from './state.ts'

/** One request at the simulated agent. */
export interface Call {
  readonly guest: GuestState
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
}

/** Reads a JSON body within its limit and checks it. */
export const readBody = async <Schema extends z.ZodType>(
  call: Call,
  schema: Schema,
): Promise<z.output<Schema>> => {
  const bytes = await readAll(call, guestLimits.jsonBytes)
  let body: unknown
  try {
    body = JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    throw new AtollError('invalid_request', `${call.method} ${call.path}: the body is no JSON`)
  }
  const checked = schema.safeParse(body)
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  throw new AtollError(
    'invalid_request',
    `${call.method} ${call.path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'does not fit'}`,
  )
}

/** Reads a whole body; refuses beyond the limit. A body that breaks off rejects. */
export const readAll = async (call: Call, limitBytes: number): Promise<Uint8Array> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of call.stream) {
    bytes += chunk.byteLength
    if (bytes > limitBytes)
      throw new AtollError('payload_too_large', `${call.method} ${call.path}: over ${limitBytes} bytes`)
    chunks.push(chunk)
  }
  if (call.stream.aborted) throw new AtollError('canceled', `${call.path}: the body ended early`)
  return Buffer.concat(chunks)
}

export const answerJson = (call: Call, status: number, value: unknown): void => {
  if (call.stream.destroyed) return
  call.stream.respond({ ':status': status, 'content-type': 'application/json' })
  call.stream.end(JSON.stringify(value))
}
