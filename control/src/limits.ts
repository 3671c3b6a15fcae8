/** Limits of control (invariant 9). Bytes, milliseconds, counts; tests and the operator may give others. */
export const controlLimits = {
  /** Requests of one key: a bucket that refills at this rate. */
  keyRequestsPerSecond: 2_000,
  keyRequestsBurst: 4_000,
  /** Failed authentications of one remote address. */
  failuresPerSecond: 0.2,
  failuresBurst: 20,
  /** Buckets, keys and sandboxes that are kept in memory; the least recently used go first. */
  bucketsKept: 10_000,
  keysCached: 10_000,
  sandboxesCached: 50_000,
  /** Ms that a repeated call waits for the first one to end. */
  idempotencyWaitMs: 60_000,
  /** Longest answer that is kept for a repeated call. */
  answerBytes: 1024 * 1024,
  /** Ms that a node has for a creation. */
  createDeadlineMs: 120_000,
  /** Ms between writes of when keys were last used. */
  lastUsedFlushMs: 60_000,
  /** Ms between sweeps of what is too old. */
  sweepMs: 600_000,
  /** Events of one sandbox that are kept: the oldest go first. */
  eventsKept: 10_000,
  eventDataBytes: 16 * 1024,
  eventPageCount: 500,
  /** Streams of events and build logs that may be open at once. */
  followers: 1_000,
  /** Builds at once, and what is kept of their logs. */
  builds: 4,
  buildsPerProject: 2,
  buildEvents: 20_000,
  buildEventBytes: 64 * 1024,
  buildsKeptMs: 30 * 86_400_000,
  uploadBytes: 64 * 1024 ** 3,
  /** Active keys, templates and projects. */
  keysPerProject: 1_000,
  templatesPerProject: 10_000,
  projects: 10_000,
  /** Snapshots that one project may keep. */
  snapshotsPerProject: 10_000,
  /** A token of one sandbox. */
  tokenTtlMinMs: 1_000,
  tokenTtlMaxMs: 7 * 86_400_000,
  /** A holder's lease. */
  holderTtlMinMs: 1_000,
  holderTtlMaxMs: 86_400_000,
}

export type ControlLimits = typeof controlLimits
