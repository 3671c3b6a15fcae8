/** Named limits that more than one tier must know (invariant 9). Bytes, milliseconds, counts. */
export const limits = {
  /** A JSON body of the API. */
  jsonBodyBytes: 1024 * 1024,
  /** A streamed file or archive. */
  fileBytes: 64 * 1024 ** 3,
  /** A path inside a sandbox. */
  pathBytes: 4_096,
  /** argv and env of one process, together. */
  argumentBytes: 1024 * 1024,
  argumentCount: 4_096,
  envCount: 1_024,
  /** stdout and stderr in one buffered answer. */
  bufferedOutputBytes: 16 * 1024 ** 2,
  /** The ring of one process's output. */
  outputRingMinBytes: 64 * 1024,
  outputRingMaxBytes: 64 * 1024 ** 2,
  outputRingDefaultBytes: 1024 ** 2,
  /** Labels of a sandbox. */
  labelCount: 64,
  labelKeyLength: 64,
  labelValueLength: 1_024,
  nameLength: 128,
  listPageDefault: 50,
  listPageMax: 500,
  idempotencyKeyLength: 128,
  /** How long an idempotency key is remembered, ms: one day. */
  idempotencyKeptMs: 86_400_000,
  /** How long a tombstone can be asked for, ms: 30 days. */
  tombstoneKeptMs: 30 * 86_400_000,
  /** Silence on a stream after which a heartbeat is sent, ms. */
  heartbeatMs: 5_000,
  /** What the node adds to a guest deadline before it takes the answer as lost, ms. */
  nodeGraceMs: 5_000,
  /** Children of one fork. */
  forkCount: 64,
  timeoutMinMs: 1_000,
  timeoutMaxMs: 30 * 86_400_000,
  timeoutDefaultMs: 3_600_000,
  /** Until a template's ready command succeeds, ms: less than the node gives the whole way to running. */
  readyTimeoutMaxMs: 50_000,
} as const

/** Limits of one sandbox: defaults and what may be asked. */
export const sandboxLimits = {
  cpuMillis: { min: 100, default: 1_000, max: 64_000 },
  memoryMib: { min: 64, default: 512, max: 262_144 },
  diskMib: { min: 64, default: 2_048, max: 1_048_576 },
  processes: { min: 16, default: 256, max: 16_384 },
  openFiles: { min: 64, default: 16_384, max: 1_048_576 },
} as const
