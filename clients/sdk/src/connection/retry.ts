import type { AtollError } from '@atoll/protocol'

/** Waiting times between tries: exponential with full jitter, bounded. */
const firstWaitMs = 100
const maxWaitMs = 5_000
/** Longest Retry-After that is obeyed; beyond it the caller decides. */
const maxRetryAfterMs = 30_000

/** These are answers of a deadline that has passed: trying again would only double the wait. */
const deadlines = new Set(['deadline_client', 'deadline_node', 'deadline_guest', 'canceled'])

/** Ms to wait before the same call may be sent again; undefined when a retry cannot help. */
export const waitBeforeRetry = (
  error: AtollError,
  attempt: number,
  answered: { status: number; retryAfter: string | null } | undefined,
  random: () => number = Math.random,
): number | undefined => {
  if (!error.retryable || deadlines.has(error.code)) return undefined
  const backoff = Math.round(random() * Math.min(maxWaitMs, firstWaitMs * 2 ** attempt))
  if (answered === undefined) return backoff
  const after = retryAfterMs(answered.retryAfter)
  if (after !== undefined) return after <= maxRetryAfterMs ? after + backoff : undefined
  // A 429 without Retry-After is a full quota: it mends when somebody frees something, not by itself.
  return answered.status >= 500 ? backoff : undefined
}

const retryAfterMs = (header: string | null): number | undefined => {
  if (header === null) return undefined
  const seconds = Number(header)
  if (Number.isFinite(seconds) && seconds >= 0) return seconds * 1_000
  const at = Date.parse(header)
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now())
}

/** Waits; an abort ends it early by rejecting with the signal's reason. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const leave = (): void => {
      clearTimeout(timer)
      reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted while waiting'))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', leave)
      resolve()
    }, ms)
    if (signal?.aborted === true) leave()
    else signal?.addEventListener('abort', leave, { once: true })
  })
