import { constants } from 'node:http2'
import { AtollError } from '@atoll/protocol'

/** The one place where a fault of the guest's channel becomes an AtollError. */
export const guestFault = (act: string, fault: unknown, stage: 'open' | 'headers' | 'body'): AtollError => {
  if (fault instanceof AtollError) return fault
  const code = errorCode(fault)
  const text = fault instanceof Error ? fault.message : String(fault)
  if (code === 'ABORT_ERR')
    return new AtollError('canceled', `${act}: the caller went away`, { cause: fault })
  if (code === 'ERR_HTTP2_STREAM_ERROR' && text.endsWith('NGHTTP2_REFUSED_STREAM'))
    return new AtollError('overloaded', `${act}: the guest agent is at its limit of streams; try again`, {
      cause: fault,
    })
  if (code === 'ERR_HTTP2_INVALID_CONNECTION_HEADERS' || code === 'ERR_INVALID_CHAR')
    return new AtollError('invalid_request', `${act}: a header is not valid: ${text}`, { cause: fault })
  if (stage === 'body')
    return new AtollError('stream_broken', `${act}: the answer broke off before its end (${text})`, {
      cause: fault,
    })
  return new AtollError(
    'guest_unreachable',
    `${act}: the guest agent cannot be reached (${text}); the sandbox may be ending, ask for its state`,
    { cause: fault },
  )
}

/** The request's body failed, not the guest. */
export const sourceFault = (act: string, fault: unknown): AtollError =>
  fault instanceof AtollError
    ? fault
    : new AtollError('canceled', `${act}: the request's body ended early`, { cause: fault })

/** A stream was reset by the agent: a word for records. */
export const resetName = (rstCode: number): string =>
  Object.entries(constants).find(([name, value]) => value === rstCode && resetNames.has(name))?.[0] ??
  `code ${rstCode}`

const resetNames = new Set([
  'NGHTTP2_NO_ERROR',
  'NGHTTP2_PROTOCOL_ERROR',
  'NGHTTP2_INTERNAL_ERROR',
  'NGHTTP2_FLOW_CONTROL_ERROR',
  'NGHTTP2_STREAM_CLOSED',
  'NGHTTP2_FRAME_SIZE_ERROR',
  'NGHTTP2_REFUSED_STREAM',
  'NGHTTP2_CANCEL',
  'NGHTTP2_ENHANCE_YOUR_CALM',
])

const errorCode = (fault: unknown): string | undefined => {
  if (typeof fault !== 'object' || fault === null || !('code' in fault)) return undefined
  return typeof fault.code === 'string' ? fault.code : undefined
}
