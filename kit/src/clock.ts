/** Time comes in from outside, so that tests own it. */
export interface Clock {
  /** Unix ms. */
  now(): number
  /** Milliseconds of a clock that never steps. */
  monotonic(): number
}

/** The machine's own clock. */
export const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() }
