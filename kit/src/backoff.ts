/** Waiting times between tries: exponential with full jitter, bounded. */
export interface Backoff {
  readonly firstMs: number
  readonly maxMs: number
  readonly factor: number
}

/** Ms to wait before try `attempt` (from 0), given a random number of [0, 1). */
export const backoffMs = (policy: Backoff, attempt: number, random: number): number =>
  Math.round(random * Math.min(policy.maxMs, policy.firstMs * policy.factor ** attempt))
