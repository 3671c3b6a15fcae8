import { AtollError, errorFromBody, isErrorCode, type ErrorCode } from '@atoll/protocol'

/** True for an error of Atoll, and of this code when one is given. Works across copies of the SDK. */
export const isAtollError = (error: unknown, code?: ErrorCode): error is AtollError =>
  error instanceof Error &&
  error.name === 'AtollError' &&
  isErrorCode((error as { code?: unknown }).code) &&
  (code === undefined || (error as AtollError).code === code)

/** Longest error body that is read, bytes: an answer from something else than Atoll may be anything. */
const maxErrorBodyBytes = 64 * 1024

/** The error that an answer with status >= 400 stands for. */
export const errorFromResponse = async (response: Response, act: string): Promise<AtollError> => {
  const text = await readSome(response).catch(() => '')
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    // No JSON: a proxy's page, or a cut answer. The status is all there is to tell.
    return new AtollError(codeOfStatus(response.status), `cannot ${act}: answered ${response.status}`, {
      retryable: response.status >= 500 || response.status === 429,
    })
  }
  // Control answers with the bare envelope; a wrapped one ({ error: … }) is read as well.
  const envelope = (body as { error?: unknown } | null)?.error ?? body
  return errorFromBody(envelope, response.status, `cannot ${act}`)
}

/** What `fetch` and its bodies throw, as an error of Atoll. */
export const errorFromFetch = (error: unknown, act: string, baseUrl: string): AtollError => {
  if (isAtollError(error)) return error
  const reason = reasonOf(error)
  return new AtollError('node_unreachable', `cannot ${act}: ${baseUrl} does not answer (${reason})`, {
    cause: error,
    remedy: 'start it with `atoll up`, or set ATOLL_URL',
  })
}

/** The caller's own abort: its AtollError if it gave one, else `canceled`. */
export const errorFromAbort = (signal: AbortSignal, act: string): AtollError =>
  isAtollError(signal.reason)
    ? signal.reason
    : new AtollError('canceled', `cannot ${act}: canceled by the caller`, { cause: signal.reason })

/** A stream that ended without its end: never a success (invariant 1). */
export const streamBroken = (act: string, cause?: unknown): AtollError =>
  new AtollError(
    'stream_broken',
    `cannot ${act}: the stream ended without its end${cause === undefined ? '' : ` (${reasonOf(cause)})`}`,
    { cause },
  )

const codeOfStatus = (status: number): ErrorCode => {
  if (status === 401) return 'unauthenticated'
  if (status === 403) return 'forbidden'
  if (status === 404) return 'not_found'
  if (status === 413) return 'payload_too_large'
  if (status === 429) return 'rate_limited'
  if (status === 502 || status === 503 || status === 504) return 'node_unreachable'
  return status < 500 ? 'invalid_request' : 'internal'
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error as { cause?: unknown }
  const code = (cause as { code?: unknown } | undefined)?.code
  if (typeof code === 'string') return code
  return cause instanceof Error && cause.message !== '' ? cause.message : error.message
}

const readSome = async (response: Response): Promise<string> => {
  if (response.body === null) return ''
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  while (text.length < maxErrorBodyBytes) {
    const { done, value } = await reader.read()
    if (done) return text
    text += decoder.decode(value, { stream: true })
  }
  await reader.cancel()
  return text
}
