import { AtollError, type ErrorCode, errorFromBody, type GuestResponse } from '@atoll/protocol'
import type { GatewayLimits } from './limits.ts'
import { readBounded } from './read-bounded.ts'

/**
 * What a guest may say of itself. Codes about keys, quotas and nodes are not its to claim (invariant 8), and its
 * `not_found` and `internal` speak of the agent, not of the sandbox: to a client both are a guest out of order.
 */
const guestCodes: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'permission_denied',
  'path_not_found',
  'process_not_found',
  'conflict',
  // It stands still for a capture and starts nothing meanwhile.
  'state_conflict',
  'path_exists',
  'not_a_file',
  'not_a_directory',
  'directory_not_empty',
  'process_ended',
  'stdin_closed',
  'not_adopted',
  'in_use',
  'precondition_failed',
  'payload_too_large',
  'range_not_satisfiable',
  'exec_failed',
  'hash_mismatch',
  'image_invalid',
  'connection_refused',
  'too_many_processes',
  'overloaded',
  'unsupported',
  'deadline_guest',
  'disk_full',
  'out_of_memory',
])

/** The error in a guest's answer: known codes pass, anything else is a fault of that guest. */
export const guestFailure = async (
  answer: GuestResponse,
  act: string,
  limits: GatewayLimits,
): Promise<AtollError> => {
  const body = await readBounded(answer.body, limits.guestErrorBytes)
  const error = errorFromBody(readJson(body), answer.status, act)
  if (!guestCodes.has(error.code))
    return new AtollError(
      'guest_unreachable',
      `${act}: the guest answered ${answer.status}: ${error.message}`,
    )
  const details =
    JSON.stringify(error.details ?? {}).length <= limits.guestDetailsBytes ? error.details : undefined
  return new AtollError(error.code, error.message, {
    retryable: error.retryable,
    ...(details === undefined ? {} : { details }),
  })
}

const readJson = (body: Buffer | undefined): unknown => {
  if (body === undefined) return undefined
  try {
    return JSON.parse(body.toString())
  } catch {
    return undefined
  }
}
