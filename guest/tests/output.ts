import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'

/** A frame of the output stream, as docs/reference/guest-protocol.md has it. */
export interface Frame {
  readonly kind: number
  readonly offset: number
  readonly payload: Buffer
}

/** What JSON.parse gives: the matchers of a test say what it must be. */
export type Parsed = ReturnType<typeof JSON.parse>

export interface Run {
  readonly stdout: string
  readonly stderr: string
  readonly events: Parsed[]
  readonly exit: Parsed
}

const headerBytes = 16

/** All whole frames of a stream's bytes; throws when it ends inside one. */
export const framesOf = (bytes: Buffer): Frame[] => {
  const frames: Frame[] = []
  let at = 0
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at + 4)
    const end = at + headerBytes + length
    if (end > bytes.length) throw new Error('the output ends inside a frame')
    frames.push({
      kind: bytes[at] ?? 0,
      offset: Number(bytes.readBigUInt64BE(at + 8)),
      payload: bytes.subarray(at + headerBytes, end),
    })
    at = end
  }
  return frames
}

export const runOf = (bytes: Buffer): Run => {
  const frames = framesOf(bytes)
  const text = (kind: number) =>
    Buffer.concat(frames.filter((frame) => frame.kind === kind).map((frame) => frame.payload)).toString()
  const events = frames
    .filter((frame) => frame.kind === 3)
    .map((frame) => JSON.parse(frame.payload.toString()))
  return {
    stdout: text(1),
    stderr: text(2),
    events,
    exit: events.find((event) => event.type === 'exit')?.exit,
  }
}

/** Opens a stream that is not read until asked. */
export const openStream = (session: ClientHttp2Session, path: string): ClientHttp2Stream =>
  session.request({ ':method': 'GET', ':path': path, ':authority': 'guest' })

/** Everything that came on a stream since `collect`, so that nothing falls between two waits. */
export interface Collected {
  until(done: (bytes: Buffer) => boolean): Promise<Buffer>
}

/** Collects a stream; `until` resolves once what came satisfies it. The deadline is the test's. */
export const collect = (stream: ClientHttp2Stream): Collected => {
  let bytes: Buffer = Buffer.alloc(0)
  let ended: Error | undefined
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const look of waiting) look()
  }
  const end = (error?: Error) => {
    ended = error ?? new Error(`the stream ended with ${bytes.toString('latin1').slice(-200)}`)
    wake()
  }
  stream.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    wake()
  })
  stream.on('end', () => end())
  stream.on('error', end)
  return {
    until: (done) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (done(bytes)) resolve(bytes)
          else if (ended !== undefined) reject(ended)
          else return void waiting.add(look)
          waiting.delete(look)
        }
        look()
      }),
  }
}
