import { AtollError, errorFromBody, type GuestResponse } from '@atoll/protocol'
import type { z } from 'zod'
import { guestLimits } from './limits.ts'

/** Reads an agent's JSON answer: bounded, parsed and checked, since it is hostile data (invariant 8). */
export const readJson = async <Schema extends z.ZodType>(
  response: GuestResponse,
  schema: Schema,
  act: string,
): Promise<z.output<Schema>> => {
  const body = parse(await readBytes(response, act))
  if (response.status >= 400) throw errorFromBody(body, response.status, act)
  const checked = schema.safeParse(body)
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  throw new AtollError(
    'guest_unreachable',
    `${act}: the guest agent's answer does not fit its schema (${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unreadable'}); delete the sandbox`,
    { retryable: false },
  )
}

const readBytes = async (response: GuestResponse, act: string): Promise<Uint8Array> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    if (bytes > guestLimits.jsonBytes) {
      response.body.destroy()
      throw new AtollError(
        'guest_unreachable',
        `${act}: the guest agent's answer is over the limit of ${guestLimits.jsonBytes} bytes`,
      )
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const parse = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}
