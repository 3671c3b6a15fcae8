import { pipeline } from 'node:stream/promises'
import { AtollError, writtenSchema } from '@atoll/protocol'
import { z } from 'zod'
import { beginStream, sendJson } from '../answer.ts'
import { askGuest, askGuestJson } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { unboundedHeadersMs } from '../limits.ts'
import { uploadBody } from '../upload-body.ts'
import { fileQuery } from './query.ts'

const passed = [
  'content-length',
  'content-range',
  'x-atoll-size',
  'x-atoll-mode',
  'x-atoll-modified-ms',
] as const
const holder = { kind: 'connection', name: 'files' } as const

/** A file's bytes, or a range of them. */
export const readFile = (call: Call): Promise<void> =>
  download(call, `/v1/files?${fileQuery(call, [])}`, 'application/octet-stream')

/** A folder's content or a file as tar. */
export const readTar = (call: Call): Promise<void> =>
  download(call, `/v1/tar?${fileQuery(call, [])}`, 'application/x-tar')

const download = async (call: Call, path: string, type: string): Promise<void> => {
  const { range } = call.request.headers
  const headers = range === undefined ? {} : { range }
  const answer = await askGuest(call, { method: 'GET', path, headers, holder, signal: call.gone })
  const kept: Record<string, string> = { 'content-type': type }
  for (const name of passed) {
    const value = answer.headers[name]
    if (value !== undefined) kept[name] = value
  }
  if (type === 'application/octet-stream') kept['accept-ranges'] = 'bytes'
  beginStream(call.response, answer.status === 206 ? 206 : 200, kept)
  // A body that breaks destroys the answer: the client sees a cut and never a shorter file.
  await pipeline(answer.body, call.response)
}

/** Writes a file: in place only when every byte has come; the receipt is what the guest read back. */
export const writeFile = async (call: Call): Promise<void> => {
  const path = `/v1/files?${fileQuery(call, ['mode', 'parents'])}`
  sendJson(call.response, 200, await upload(call, path, announced(call), writtenSchema))
}

/** Unpacks a tar below a path, as the user. */
export const writeTar = async (call: Call): Promise<void> => {
  const path = `/v1/tar?${fileQuery(call, [])}`
  const unpacked = z.object({ entries: z.number(), bytes: z.number() })
  sendJson(call.response, 200, await upload(call, path, {}, unpacked))
}

const upload = async <Schema extends z.ZodType>(
  call: Call,
  path: string,
  headers: Record<string, string>,
  schema: Schema,
): Promise<z.output<Schema>> => {
  const size = Number(call.request.headers['content-length'] ?? 0)
  const { fileBytes } = call.deps.limits
  if (size > fileBytes)
    throw new AtollError('payload_too_large', `the body is over ${fileBytes} bytes; send less`)
  const body = uploadBody(call.request, call.deps.limits)
  const request = { method: 'PUT', path, headers, body, holder, signal: call.gone } as const
  try {
    return await askGuestJson(call, { ...request, headersTimeoutMs: unboundedHeadersMs }, schema)
  } catch (error) {
    // The body's own fault says more than that the exchange was reset for it.
    throw body.errored instanceof AtollError ? body.errored : error
  } finally {
    body.destroy()
  }
}

/** What the client says of its bytes; the guest holds it against what came. */
const announced = (call: Call): Record<string, string> => {
  const { 'content-length': size, 'x-atoll-sha256': sha256 } = call.request.headers
  if (sha256 !== undefined && !(typeof sha256 === 'string' && /^[a-f0-9]{64}$/.test(sha256)))
    throw new AtollError('invalid_request', 'x-atoll-sha256: must be 64 hex digits in lower case')
  return {
    ...(size === undefined ? {} : { 'x-atoll-size': size }),
    ...(typeof sha256 === 'string' ? { 'x-atoll-sha256': sha256 } : {}),
  }
}
