import type { Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import { boundedMap } from './bounded-map.ts'

export interface BucketLimits {
  readonly perSecond: number
  readonly burst: number
  readonly kept: number
}

interface Bucket {
  tokens: number
  atMs: number
}

/** Token buckets by name; the clock is monotonic, so a step of the wall clock opens nothing. */
export const tokenBuckets = (clock: Clock, bucketLimits: BucketLimits) => {
  const buckets = boundedMap<Bucket>(bucketLimits.kept)
  const filled = (name: string): Bucket => {
    const now = clock.monotonic()
    const bucket = buckets.get(name) ?? { tokens: bucketLimits.burst, atMs: now }
    const grown = bucket.tokens + ((now - bucket.atMs) / 1_000) * bucketLimits.perSecond
    bucket.tokens = Math.min(bucketLimits.burst, grown)
    bucket.atMs = now
    buckets.set(name, bucket)
    return bucket
  }
  const retryAfterMs = (bucket: Bucket): number =>
    Math.ceil(((1 - bucket.tokens) / bucketLimits.perSecond) * 1_000)
  return {
    /** Takes one token; answers 0, or the ms after which one is there. */
    take(name: string): number {
      const bucket = filled(name)
      if (bucket.tokens < 1) return retryAfterMs(bucket)
      bucket.tokens -= 1
      return 0
    },
    /** As `take`, and takes nothing. */
    peek(name: string): number {
      const bucket = filled(name)
      return bucket.tokens < 1 ? retryAfterMs(bucket) : 0
    },
  }
}

export type TokenBuckets = ReturnType<typeof tokenBuckets>

/** The refusal that says when to come back; `details.retryAfterMs` becomes the retry-after header. */
export const rateLimited = (what: string, retryAfterMs: number): AtollError =>
  new AtollError('rate_limited', `too many ${what}: try again in ${retryAfterMs} ms`, {
    details: { retryAfterMs },
  })
