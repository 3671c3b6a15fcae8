import { limits as shared } from '@atoll/protocol'

/** Limits of the gateway (invariant 9). Bytes, milliseconds, counts; tests and the operator may give others. */
export const gatewayLimits = {
  /** stdout and stderr of one buffered run. */
  bufferedOutputBytes: shared.bufferedOutputBytes as number,
  /** Silence towards the client after which a heartbeat goes out. */
  heartbeatMs: shared.heartbeatMs as number,
  /** Silence of a guest that should beat every 5 s, after which its stream is taken as broken. */
  guestSilenceMs: 30_000,
  /** How long a broken stream waits to learn whether its sandbox is being paused or stopped. */
  restSettleMs: 60_000,
  /** What is added to a guest's deadline before the node's binds. */
  nodeGraceMs: shared.nodeGraceMs as number,
  /** A JSON answer of a guest; the largest is a listing. */
  guestJsonBytes: 16 * 1024 ** 2,
  /** An error's body and details, and one line of a watch. */
  guestErrorBytes: 64 * 1024,
  guestDetailsBytes: 4 * 1024,
  watchLineBytes: 64 * 1024,
  /** Ms that a client has for a JSON body, and between two pieces of a streamed one. */
  jsonBodyMs: 30_000,
  uploadSilenceMs: 120_000,
  fileBytes: shared.fileBytes as number,
  /** What is buffered for one terminal's client before its guest stream is held. */
  terminalBufferBytes: 1024 * 1024,
  terminalMessageBytes: 1024 * 1024,
  terminalEventBytes: 4 * 1024,
  /** Ms between pings; two without an answer end a terminal. */
  terminalPingMs: 15_000,
  terminals: 1_000,
}

export type GatewayLimits = typeof gatewayLimits

/** Headers of a call that lasts as long as its client wants: the longest that a timer takes. */
export const unboundedHeadersMs = 2 ** 31 - 1
