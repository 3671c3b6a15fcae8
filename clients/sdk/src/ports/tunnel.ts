import {
  AtollError,
  errorFromBody,
  portNames,
  type TunnelMessage,
  tunnelMessageSchema,
  tunnelWindowBytes,
} from '@atoll/protocol'
import { ownBytes } from '../connection/bytes.ts'
import type { Connection } from '../connection/connection.ts'
import type { WebSocketLike } from '../connection/settings.ts'

/** A TCP connection into a sandbox. Closing `writable` ends our side only: the server inside may still answer. */
export interface PortConnection extends AsyncDisposable {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
  /** Resolves when the connection is over in order; rejects when it broke. */
  readonly closed: Promise<void>
  close(): Promise<void>
}

export interface TunnelOptions {
  readonly sandbox: string
  readonly port: number
  readonly token: string
  readonly signal?: AbortSignal | undefined
}

/** Bytes of one message. */
const pieceBytes = 64 * 1024
/** Bytes that may wait in the socket before a write waits, too. */
const maxBufferedBytes = 1024 * 1024

/** Opens a tunnel, and comes back when the server inside took the connection. */
export const openTunnel = async (connection: Connection, options: TunnelOptions): Promise<PortConnection> => {
  const { sandbox, port, token, signal } = options
  const act = `connect to port ${port} of ${sandbox}`
  const { WebSocket, baseUrl } = connection.settings
  if (WebSocket === undefined)
    throw new AtollError('unsupported', `cannot ${act}: this platform has no WebSocket`, {
      remedy: 'give one: new Atoll({ WebSocket }) with the class of the package "ws"',
    })
  const url = `${baseUrl.replace(/^http/, 'ws')}/v1/sandboxes/${sandbox}/ports/${port}/tunnel`
  const socket = new WebSocket(url, [portNames.tunnelProtocol, portNames.tokenProtocolPrefix + token])
  socket.binaryType = 'arraybuffer'
  const tunnel = carry(socket, act)
  const abort = (): void => tunnel.fail(new AtollError('canceled', `cannot ${act}: the caller canceled it`))
  if (signal?.aborted === true) abort()
  signal?.addEventListener('abort', abort, { once: true })
  const over = (): void => signal?.removeEventListener('abort', abort)
  tunnel.closed.then(over, over)
  await tunnel.opened
  return {
    readable: tunnel.readable,
    writable: tunnel.writable,
    closed: tunnel.closed,
    close: () => tunnel.close(),
    [Symbol.asyncDispose]: () => tunnel.close(),
  }
}

const carry = (socket: WebSocketLike, act: string) => {
  const opened = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<void>()
  // The caller may look at them later; until then a failure must not end the program.
  opened.promise.catch(() => undefined)
  closed.promise.catch(() => undefined)
  const send = (message: TunnelMessage): void => {
    if (socket.readyState === 1) socket.send(JSON.stringify(message))
  }
  const inward = inwardStream((bytes) => send({ type: 'taken', bytes }))
  const outward = outwardStream(socket, send)
  const fail = (error: AtollError): void => {
    opened.reject(error)
    closed.reject(error)
    inward.fail(error)
    outward.fail(error)
    socket.close(1000)
  }
  const receive = (data: unknown): void => {
    if (typeof data !== 'string') return inward.give(new Uint8Array(data as ArrayBuffer))
    const message = tunnelMessageSchema.parse(JSON.parse(data))
    if (message.type === 'refused') return fail(errorFromBody(message.error, 502, `cannot ${act}`))
    if (message.type === 'end') return inward.end()
    if (message.type === 'connected') return opened.resolve()
    outward.taken(message.bytes)
  }
  socket.addEventListener('message', (event: { data: unknown }) => {
    try {
      receive(event.data)
    } catch (error) {
      fail(new AtollError('stream_broken', `cannot ${act}: what came is no tunnel`, { cause: error }))
    }
  })
  // An error is always followed by close, and says nothing that close does not.
  socket.addEventListener('error', () => undefined)
  socket.addEventListener('close', (event: { code: number; reason: string }) => {
    const why = event.reason === '' ? '' : `: ${event.reason}`
    if (event.code !== 1000)
      return fail(new AtollError('stream_broken', `cannot ${act}: the connection broke${why}`))
    inward.end()
    outward.fail(new AtollError('stream_broken', `cannot write: the server inside ended the connection`))
    closed.resolve()
  })
  return {
    readable: inward.stream,
    writable: outward.stream,
    opened: opened.promise,
    closed: closed.promise,
    fail,
    close: async (): Promise<void> => {
      socket.close(1000)
      await closed.promise.catch(() => undefined)
    },
  }
}

/** What comes, held by the gateway at a window that the reader has not taken yet. */
const inwardStream = (onTaken: (bytes: number) => void) => {
  const waiting: Uint8Array[] = []
  let wake = Promise.withResolvers<void>()
  let over: { readonly error?: AtollError } | undefined
  const changed = (): void => {
    wake.resolve()
    wake = Promise.withResolvers<void>()
  }
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        while (waiting.length === 0 && over === undefined) await wake.promise
        const next = waiting.shift()
        if (next !== undefined) {
          controller.enqueue(next)
          onTaken(next.length)
        } else if (over?.error === undefined) controller.close()
        else controller.error(over.error)
      },
      cancel() {
        over ??= {}
      },
    },
    { highWaterMark: 0 },
  )
  return {
    stream,
    give(bytes: Uint8Array): void {
      if (over !== undefined || bytes.length === 0) return
      waiting.push(bytes)
      changed()
    },
    end(): void {
      over ??= {}
      changed()
    },
    fail(error: AtollError): void {
      over ??= { error }
      changed()
    },
  }
}

/** What goes, at most a window more than the gateway said that it passed on. */
const outwardStream = (socket: WebSocketLike, send: (message: TunnelMessage) => void) => {
  let open = tunnelWindowBytes
  let wake = Promise.withResolvers<void>()
  let failed: AtollError | undefined
  const room = async (): Promise<void> => {
    while (failed === undefined && (open <= 0 || socket.bufferedAmount > maxBufferedBytes)) await wake.promise
    if (failed !== undefined) throw failed
  }
  const changed = (): void => {
    wake.resolve()
    wake = Promise.withResolvers<void>()
  }
  const stream = new WritableStream<Uint8Array>({
    async write(chunk) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        await room()
        const piece = chunk.subarray(at, at + pieceBytes)
        open -= piece.length
        socket.send(ownBytes(piece))
      }
    },
    close: () => send({ type: 'end' }),
    abort: () => socket.close(1000),
  })
  return {
    stream,
    taken(bytes: number): void {
      open += bytes
      changed()
    },
    fail(error: AtollError): void {
      failed ??= error
      changed()
    },
  }
}
