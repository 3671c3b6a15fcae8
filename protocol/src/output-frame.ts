/** Kinds of frames in the guest's output stream (docs/reference/guest-protocol.md). */
export const frameKinds = { stdout: 1, stderr: 2, event: 3, heartbeat: 4 } as const

/** Most bytes that one frame carries. */
export const maxFrameBytes = 65_536
const headerBytes = 16

export interface OutputFrame {
  readonly kind: number
  /** Offset of the first byte in the process's log. */
  readonly offset: number
  readonly payload: Uint8Array
}

/** Takes chunks as they come, gives whole frames; throws a RangeError on a malformed one: the guest is hostile. */
export const outputFrameDecoder = (): {
  push(chunk: Uint8Array): OutputFrame[]
  readonly pendingBytes: number
} => {
  let pending: Uint8Array = new Uint8Array(0)
  return {
    get pendingBytes() {
      return pending.length
    },
    push(chunk) {
      const frames: OutputFrame[] = []
      let data = pending.length === 0 ? chunk : concat(pending, chunk)
      while (data.length >= headerBytes) {
        const view = new DataView(data.buffer, data.byteOffset, headerBytes)
        const length = view.getUint32(4)
        if (length > maxFrameBytes)
          throw new RangeError(`output frame of ${length} bytes is over the limit of ${maxFrameBytes}`)
        if (data.length < headerBytes + length) break
        const kind = view.getUint8(0)
        if (kind < 1 || kind > 4) throw new RangeError(`output frame of unknown kind ${kind}`)
        const offset = Number(view.getBigUint64(8))
        frames.push({ kind, offset, payload: data.subarray(headerBytes, headerBytes + length) })
        data = data.subarray(headerBytes + length)
      }
      pending = data.slice()
      return frames
    },
  }
}

/** The wire form of a frame. */
export const encodeOutputFrame = (frame: OutputFrame): Uint8Array => {
  const bytes = new Uint8Array(headerBytes + frame.payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, frame.kind)
  view.setUint32(4, frame.payload.length)
  view.setBigUint64(8, BigInt(frame.offset))
  bytes.set(frame.payload, headerBytes)
  return bytes
}

const concat = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const both = new Uint8Array(left.length + right.length)
  both.set(left)
  both.set(right, left.length)
  return both
}
