/** Named limits of the pool (invariant 9). */
export const poolLimits = {
  /** Creates are counted in windows of this length: what came within one is what the pool should hold, ms. */
  demandWindowMs: 10_000,
  /** How long a window is remembered, ms. */
  demandKeptMs: 300_000,
  /** Keys that have a part of the pool; the one that was wanted longest ago goes first. */
  shelves: 16,
  /** Places that wait for an image, of each key that someone wanted. */
  blanks: 2,
  /** What a member is taken to need before one was measured, bytes. */
  memberBytes: 16 * 1024 ** 2,
  /** Members that a claim tries before it restores. */
  claimTries: 3,
  /** Longest for the stages of one claim, ms. */
  claimMs: 5_000,
  /** Longest for one fill, ms. */
  fillMs: 60_000,
  /** After a fill that failed the key waits that long, ms. */
  retryAfterMs: 30_000,
  /** After a claim nothing is filled for that long, since a fill takes a CPU for a tenth of a second, ms… */
  quietMs: 250,
  /** …but one at least in this time, ms. */
  quietMaxMs: 2_000,
  /** Between two looks at what is missing or too much, ms. */
  tickMs: 1_000,
  /** Template snapshots that are kept, of all images and disk sizes. */
  templates: 64,
  /** A template whose snapshot could not be had is tried again after this time, ms. */
  templateRetryMs: 60_000,
} as const
