/** Limits of the way in to a sandbox's ports (invariant 9). Bytes, milliseconds, counts. */
export const portLimits = {
  /** Connections to all guests, and to one: its agent takes 256 streams, and commands must still pass. */
  connections: 4_000,
  connectionsPerSandbox: 128,
  /** Kept open between two requests to one port, and for how long: a kept one holds the sandbox. */
  idleConnections: 16,
  idleConnectionMs: 2_000,
  /** Ms that a guest's agent has to connect. */
  connectMs: 10_000,
  /** Ms that a connection waits for a sandbox which is about to run: created, resumed. */
  wakeMs: 60_000,
  wakeRetryMs: 100,
  /** Ms that the server inside has until the headers of its answer. */
  answerMs: 600_000,
  /** Ms that it has to allow a body that was announced with `Expect`, before the body goes out anyway. */
  expectMs: 1_000,
  /** Ms without a byte in either way, after which a stream, a WebSocket or a tunnel is cut. */
  silenceMs: 3_600_000,
  /** Ms that a client may go on sending what nobody reads any more. */
  lingerMs: 1_000,
  /** Interim answers (1xx) before the answer. */
  interimAnswers: 100,
  /** Headers of an answer from inside. */
  answerHeaderBytes: 64 * 1024,
  /** What one connection holds in each direction before its source is held. */
  bufferBytes: 64 * 1024,
  /** One message of a tunnel. */
  tunnelMessageBytes: 1024 * 1024,
  tunnelPingMs: 15_000,
}

export type PortLimits = typeof portLimits
