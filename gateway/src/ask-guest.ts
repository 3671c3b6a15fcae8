import { AtollError, type GuestRequest, type GuestResponse } from '@atoll/protocol'
import type { z } from 'zod'
import type { GuestCall } from './call.ts'
import { guestFailure } from './guest-failure.ts'
import { readBounded } from './read-bounded.ts'

/** One exchange with the guest; a refusal of the guest is thrown as the error that it names. */
export const askGuest = async (call: GuestCall, request: GuestRequest): Promise<GuestResponse> => {
  const answer = await call.node.guest(call.sandbox, request)
  if (answer.status < 400) return answer
  throw await guestFailure(answer, describe(call, request), call.deps.limits)
}

/** One exchange whose answer is JSON: bounded, and parsed before anyone believes it. */
export const askGuestJson = async <Schema extends z.ZodType>(
  call: GuestCall,
  request: GuestRequest,
  schema: Schema,
): Promise<z.output<Schema>> => {
  const answer = await askGuest(call, request)
  const body = await readBounded(answer.body, call.deps.limits.guestJsonBytes)
  const parsed = schema.safeParse(body === undefined ? undefined : parseJson(body))
  if (parsed.success) return parsed.data
  throw new AtollError('guest_unreachable', `${describe(call, request)}: the guest's answer is not readable`)
}

/** A JSON body for the guest. */
export const jsonBody = (value: unknown): Pick<GuestRequest, 'headers' | 'body'> => ({
  headers: { 'content-type': 'application/json' },
  body: Buffer.from(JSON.stringify(value)),
})

const describe = (call: GuestCall, request: GuestRequest): string =>
  `cannot ask sandbox ${call.sandbox} for ${request.method} ${request.path.split('?', 1)[0]}`

const parseJson = (body: Buffer): unknown => {
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}
