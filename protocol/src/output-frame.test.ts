import { describe, expect, it } from 'vitest'
import { encodeOutputFrame, frameKinds, maxFrameBytes, outputFrameDecoder } from './output-frame.ts'

describe('output frames', () => {
  const frames = [
    { kind: frameKinds.stdout, offset: 0, payload: new TextEncoder().encode('hello') },
    { kind: frameKinds.heartbeat, offset: 5, payload: new Uint8Array(0) },
    { kind: frameKinds.stderr, offset: 2 ** 40, payload: new Uint8Array(maxFrameBytes).fill(7) },
  ]
  const wire = Buffer.concat(frames.map(encodeOutputFrame))

  it.each([1, 3, 16, 17, 1_000, 100_000])('come back whole when cut every %i bytes', (size) => {
    const decoder = outputFrameDecoder()
    const got = []
    for (let at = 0; at < wire.length; at += size) got.push(...decoder.push(wire.subarray(at, at + size)))
    expect(got.map(({ kind, offset, payload }) => ({ kind, offset, payload: Buffer.from(payload) }))).toEqual(
      frames.map(({ kind, offset, payload }) => ({ kind, offset, payload: Buffer.from(payload) })),
    )
    expect(decoder.pendingBytes).toBe(0)
  })

  it('are refused over their size and of unknown kinds', () => {
    const long = Buffer.from(encodeOutputFrame({ kind: 1, offset: 0, payload: new Uint8Array(1) }))
    long.writeUInt32BE(maxFrameBytes + 1, 4)
    expect(() => outputFrameDecoder().push(long)).toThrow(/over the limit/)
    expect(() =>
      outputFrameDecoder().push(encodeOutputFrame({ kind: 9, offset: 0, payload: new Uint8Array(0) })),
    ).toThrow(/unknown kind 9/)
  })
})
