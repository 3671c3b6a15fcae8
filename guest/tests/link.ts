import { randomBytes } from 'node:crypto'
import { connect, type ClientHttp2Session } from 'node:http2'
import { Duplex, type Readable, type Writable } from 'node:stream'

const sledBytes = 65_540
const frameMaxBytes = 65_536
const magic = Buffer.from('ATOLL-LINK-0001\n')
const kinds = { data: 1, open: 2, opened: 3, close: 4 } as const

/** The host's end of the link, as the launcher's shim has it. */
export interface Link {
  /** Begins a session and gives an HTTP/2 client in it. */
  open(): Promise<ClientHttp2Session>
  /** Writes bytes that no well-behaved host writes. */
  writeRaw(bytes: Uint8Array): void
  readonly closesSeen: number
}

/** Speaks the link over the agent's two streams; a new session ends the one before. */
export const makeLink = (toAgent: Writable, fromAgent: Readable): Link => {
  let pending: Buffer = Buffer.alloc(0)
  let session: Duplex | undefined
  let awaited: { nonce: Buffer; resolve: (generation: number) => void } | undefined
  let closesSeen = 0

  const takeOpened = (): boolean => {
    if (awaited === undefined) return false
    const at = pending.indexOf(Buffer.concat([magic, awaited.nonce]))
    if (at < 0 || pending.length < at + 36) return false
    const generation = pending.readUInt32BE(at + 32)
    pending = pending.subarray(at + 36)
    awaited.resolve(generation)
    awaited = undefined
    return true
  }

  const takeFrames = (): void => {
    while (pending.length >= 4) {
      const kind = pending[0]
      const length = pending.readUIntBE(1, 3)
      if (length > frameMaxBytes) throw new Error(`agent sent a frame of ${length} bytes`)
      if (pending.length < 4 + length) return
      const payload = Buffer.from(pending.subarray(4, 4 + length))
      pending = pending.subarray(4 + length)
      if (kind === kinds.data) {
        if (session?.push(payload) === false) fromAgent.pause()
      } else if (kind === kinds.close) {
        closesSeen += 1
        session?.push(null)
        session = undefined
      } else throw new Error(`agent sent a frame of unknown type ${kind}`)
    }
  }

  fromAgent.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    if (awaited !== undefined && !takeOpened()) return
    takeFrames()
  })

  const makeSession = (): Duplex =>
    new Duplex({
      read: () => void fromAgent.resume(),
      write: (chunk: Buffer, _encoding, done) => {
        const parts: Buffer[] = []
        for (let at = 0; at < chunk.length; at += frameMaxBytes) {
          const part = chunk.subarray(at, at + frameMaxBytes)
          const header = Buffer.from([kinds.data, 0, 0, 0])
          header.writeUIntBE(part.length, 1, 3)
          parts.push(header, part)
        }
        if (toAgent.write(Buffer.concat(parts))) done()
        else toAgent.once('drain', () => done())
      },
    })

  return {
    get closesSeen() {
      return closesSeen
    },
    writeRaw: (bytes) => void toAgent.write(bytes),
    open: async () => {
      const nonce = randomBytes(16)
      session?.destroy()
      const opened = new Promise<number>((resolve) => {
        awaited = { nonce, resolve }
      })
      const header = Buffer.from([kinds.open, 0, 0, 16])
      toAgent.write(Buffer.concat([Buffer.alloc(sledBytes), header, nonce]))
      fromAgent.resume()
      const duplex = makeSession()
      session = duplex
      const generation = await opened
      if (generation !== 2) throw new Error(`agent speaks generation ${generation}, not 2`)
      return connect('http://guest', {
        createConnection: () => duplex as never,
        settings: { initialWindowSize: 1 << 20 },
      })
    },
  }
}
