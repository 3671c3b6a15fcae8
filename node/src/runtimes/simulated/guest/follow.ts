import { encodeOutputFrame, frameKinds, limits, maxFrameBytes } from '@atoll/protocol'
import type { OutputLog, Piece } from './log.ts'
import type { SimulatedProcess } from './simulated-process.ts'

const event = (offset: number, data: unknown): Uint8Array =>
  encodeOutputFrame({ kind: frameKinds.event, offset, payload: Buffer.from(JSON.stringify(data)) })

/** The output stream of docs/reference/guest-protocol.md: with follow it ends with `exit` or `evicted`, always. */
export async function* outputStream(
  process: SimulatedProcess,
  options: { offset: number | undefined; follow: boolean; started: boolean; monotonic: () => number },
): AsyncGenerator<Uint8Array> {
  const { log } = process
  if (options.started) yield event(log.start, { type: 'started', process: process.record() })
  const end = log.end
  const cursor = log.follow(options.offset ?? log.start)
  try {
    for (;;) {
      if (!log.isFollowing(cursor)) {
        yield event(cursor.offset, { type: 'evicted', reason: 'stalled', offset: cursor.offset })
        return
      }
      if (cursor.offset < log.start) {
        yield event(log.start, { type: 'gap', from: cursor.offset, to: log.start })
        cursor.offset = log.start
      }
      const piece = log.at(cursor.offset)
      if (piece !== undefined && (options.follow || cursor.offset < end)) {
        yield dataFrame(piece)
        cursor.offset = Math.min(piece.offset + maxFrameBytes, piece.offset + piece.bytes.byteLength)
        cursor.lastMoveMs = options.monotonic()
        log.notify()
      } else if (!options.follow) return
      else if (log.closed) {
        yield event(cursor.offset, { type: 'exit', exit: process.record().exit })
        return
      } else if (await isSilent(log))
        yield encodeOutputFrame({
          kind: frameKinds.heartbeat,
          offset: cursor.offset,
          payload: new Uint8Array(),
        })
    }
  } finally {
    log.unfollow(cursor)
  }
}

const dataFrame = (piece: Piece): Uint8Array =>
  encodeOutputFrame({
    kind: piece.kind,
    offset: piece.offset,
    payload: piece.bytes.subarray(0, maxFrameBytes),
  })

/** Waits for a change of the log; true when none came before a heartbeat is due. */
const isSilent = (log: OutputLog): Promise<boolean> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve(true), limits.heartbeatMs)
    timer.unref()
    void log.changed().then(() => {
      clearTimeout(timer)
      resolve(false)
    })
  })
