/** One piece of output, as the ring holds it. */
export interface Piece {
  readonly kind: 1 | 2
  readonly offset: number
  readonly bytes: Uint8Array
}

/** What a checkpoint keeps of a log. */
export interface SavedLog {
  readonly pieces: readonly Piece[]
  readonly start: number
  readonly end: number
  readonly closed: boolean
}

/** A follower's place in the log. */
export interface Cursor {
  offset: number
  lastMoveMs: number
}

/** Longest time that a follower may take nothing while the ring is full, ms. */
const stallMs = 10_000

/** The output of one process: a bounded ring with byte offsets, stdout and stderr on one counter. */
export const outputLog = (limitBytes: number, monotonic: () => number, saved?: SavedLog) => {
  const pieces: Piece[] = [...(saved?.pieces ?? [])]
  const followers = new Set<Cursor>()
  let start = saved?.start ?? 0
  let end = saved?.end ?? 0
  let closed = saved?.closed ?? false
  let wake = Promise.withResolvers<void>()
  const notify = (): void => {
    const { resolve } = wake
    wake = Promise.withResolvers<void>()
    resolve()
  }
  const evict = (): void => {
    while (end - start > limitBytes) {
      const first = pieces.shift()
      if (first === undefined) break
      start = first.offset + first.bytes.byteLength
    }
  }
  /** True while a follower that makes progress would lose bytes. */
  const mustWait = (more: number): boolean => {
    for (const follower of followers) {
      if (end + more - follower.offset <= limitBytes) continue
      if (monotonic() - follower.lastMoveMs < stallMs) return true
      followers.delete(follower)
    }
    return false
  }
  return {
    get start() {
      return start
    },
    get end() {
      return end
    },
    get closed() {
      return closed
    },
    /** Resolves at the next change. */
    changed: (): Promise<void> => wake.promise,
    save: (): SavedLog => ({ pieces: [...pieces], start, end, closed }),
    notify,
    mustWait,
    append: (kind: 1 | 2, bytes: Uint8Array): void => {
      if (bytes.byteLength === 0) return
      pieces.push({ kind, offset: end, bytes })
      end += bytes.byteLength
      evict()
      notify()
    },
    close: (): void => {
      closed = true
      notify()
    },
    /** The piece that holds `offset`, cut to begin there. */
    at: (offset: number): Piece | undefined => {
      const piece = pieces.find(({ offset: from, bytes }) => from + bytes.byteLength > offset)
      if (piece === undefined) return undefined
      const skip = Math.max(0, offset - piece.offset)
      return { kind: piece.kind, offset: piece.offset + skip, bytes: piece.bytes.subarray(skip) }
    },
    follow: (offset: number): Cursor => {
      const cursor = { offset, lastMoveMs: monotonic() }
      followers.add(cursor)
      return cursor
    },
    /** False when the follower was evicted. */
    isFollowing: (cursor: Cursor): boolean => followers.has(cursor),
    unfollow: (cursor: Cursor): void => {
      followers.delete(cursor)
      notify()
    },
  }
}
export type OutputLog = ReturnType<typeof outputLog>
