/** Named limits of the channel to a guest agent (invariant 9). */
export const guestLimits = {
  /** What one stream may have under way, bytes. */
  streamWindowBytes: 2 * 1024 ** 2,
  /** What a session may have under way: a few stalled readers do not block the rest. */
  sessionWindowBytes: 32 * 1024 ** 2,
  /** Memory of one HTTP/2 session, MiB, as node:http2 counts it. */
  sessionMemoryMib: 64,
  frameBytes: 128 * 1024,
  headerListBytes: 32 * 1024,
  headerPairs: 64,
  /** What one request's body may have handed to the session and not to the socket, bytes. */
  sendingBytes: 512 * 1024,
  /** What a response holds before its reader takes it, bytes. */
  bodyBufferBytes: 256 * 1024,
  /** What a stream may still bring after its reader left, before it is reset: ms, bytes. */
  lingerMs: 100,
  lingerBytes: 64 * 1024,
  /** Frames for streams that were reset, per session: each call may leave some, and a session lasts for days. */
  invalidFrames: 2 ** 31,
  /** A JSON answer of the agent. */
  jsonBytes: 1024 ** 2,
  /** From connecting to the agent's settings, ms. */
  openTimeoutMs: 5_000,
  /** The same for an agent that did not answer last time. */
  openLostTimeoutMs: 2_000,
  /** Tries to open a session within `openTimeoutMs`. */
  openAttempts: 6,
  /** Until headers of an answer are there, ms; `headersTimeoutMs` of a request goes before it. */
  headersTimeoutMs: 30_000,
  /** While requests are open the agent is asked that often whether it lives, ms. */
  pingEveryMs: 5_000,
  /** And has that long to say so, ms. */
  pingTimeoutMs: 5_000,
} as const

/** Waits between tries to open a session. */
export const openBackoff = { firstMs: 20, maxMs: 500, factor: 2 } as const
