import { AtollError, errorFromBody, type Exit, type OutputEvent } from '@atoll/protocol'
import { ownBytes } from '../connection/bytes.ts'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { pause } from '../connection/retry.ts'
import type { WebSocketLike } from '../connection/settings.ts'
import type { ProcessHandle } from './handle.ts'

/** A terminal of a process, over one WebSocket at a time; a broken one is replaced from the last byte seen. */
export interface Terminal extends AsyncDisposable {
  readonly process: ProcessHandle
  /** Sends keys. What is typed while the way is broken is refused with `stream_broken`, never kept and replayed. */
  write(data: string | Uint8Array): void
  resize(size: { columns: number; rows: number }): void
  /** Resolves at the end of the process; rejects when the terminal is lost for good. */
  readonly exited: Promise<Exit>
  /** Leaves the terminal; the process goes on. */
  close(): Promise<void>
}

export interface TerminalOptions extends CallOptions {
  readonly onData: (data: Uint8Array) => void
  /** Offset in the process's log from which to read; default: its start. */
  readonly offset?: number | undefined
}

const maxBreaksInARow = 6
const firstWaitMs = 50
/** How long a token for the socket's address lives: long enough to connect with it. */
const tokenTtlMs = 60_000
/** Bytes that may wait in the socket before a write is refused. */
const maxBufferedBytes = 4 * 1024 * 1024
const openState = 1

/** Opens a terminal on a process that was started with one. */
export const openTerminal = async (
  connection: Connection,
  sandbox: string,
  process: ProcessHandle,
  options: TerminalOptions,
): Promise<Terminal> => {
  const link: Link = { socket: undefined, offset: options.offset ?? 0, closed: false, opened: 0 }
  const firstOpen = Promise.withResolvers<void>()
  const exited = stayConnected(connection, sandbox, process, options, link, firstOpen.resolve)
  // The caller may look at `exited` later; until then its failure must not end the program.
  exited.catch(firstOpen.reject)
  await firstOpen.promise
  return {
    process,
    exited,
    write: (data) => send(link, typeof data === 'string' ? new TextEncoder().encode(data) : ownBytes(data)),
    resize: (size) => send(link, JSON.stringify({ type: 'resize', ...size })),
    close: () => leave(link),
    [Symbol.asyncDispose]: () => leave(link),
  }
}

interface Link {
  socket: WebSocketLike | undefined
  offset: number
  closed: boolean
  opened: number
}

const send = (link: Link, data: string | Uint8Array<ArrayBuffer>): void => {
  const { socket } = link
  if (socket === undefined || socket.readyState !== openState)
    throw new AtollError('stream_broken', 'cannot write to the terminal: it is not connected; try again')
  if (socket.bufferedAmount > maxBufferedBytes)
    throw new AtollError(
      'overloaded',
      `cannot write to the terminal: ${maxBufferedBytes} bytes wait; slow down`,
    )
  socket.send(data)
}

const leave = (link: Link): Promise<void> => {
  link.closed = true
  link.socket?.close(1000)
  return Promise.resolve()
}

const stayConnected = async (
  connection: Connection,
  sandbox: string,
  process: ProcessHandle,
  options: TerminalOptions,
  link: Link,
  onOpen: () => void,
): Promise<Exit> => {
  for (let breaks = 0; breaks < maxBreaksInARow; breaks++) {
    const before = link.opened
    const exit = await oneSocket(connection, sandbox, process, options, link, onOpen)
    if (exit !== undefined) return exit
    if (link.closed || options.signal?.aborted === true)
      throw new AtollError('canceled', `the terminal of process ${process.id} was closed by the caller`)
    if (link.opened > before) breaks = 0
    await pause(firstWaitMs * 2 ** breaks, options.signal)
  }
  throw streamBroken(`use the terminal of process ${process.id}`)
}

/** One connection: the exit, or undefined when it broke. Throws when trying again cannot help. */
const oneSocket = async (
  connection: Connection,
  sandbox: string,
  process: ProcessHandle,
  options: TerminalOptions,
  link: Link,
  onOpen: () => void,
): Promise<Exit | undefined> => {
  const socket = await connect(connection, sandbox, process.id, link.offset)
  link.socket = socket
  const result = Promise.withResolvers<Exit | undefined>()
  const abort = (): void => socket.close(1000)
  options.signal?.addEventListener('abort', abort, { once: true })
  socket.addEventListener('open', () => {
    link.opened++
    onOpen()
  })
  // An error is always followed by close, and says nothing that close does not.
  socket.addEventListener('error', () => undefined)
  socket.addEventListener('close', () => result.resolve(undefined))
  socket.addEventListener('message', (event: { data: unknown }) => {
    try {
      const exit = receive(event.data, link, options, process.id)
      if (exit !== undefined) result.resolve(exit)
    } catch (error) {
      result.reject(error instanceof Error ? error : new Error(String(error)))
    }
  })
  try {
    return await result.promise
  } finally {
    options.signal?.removeEventListener('abort', abort)
    socket.close(1000)
  }
}

const receive = (data: unknown, link: Link, options: TerminalOptions, id: string): Exit | undefined => {
  if (typeof data !== 'string') {
    const bytes = new Uint8Array(data as ArrayBuffer)
    link.offset += bytes.length
    options.onData(bytes)
    return undefined
  }
  const event = JSON.parse(data) as OutputEvent | { type: 'offset'; offset: number }
  if (event.type === 'offset') link.offset = event.offset
  if (event.type === 'gap') link.offset = Math.max(link.offset, event.to)
  if (event.type === 'error')
    throw errorFromBody(event.error, 502, `cannot use the terminal of process ${id}`)
  return event.type === 'exit' ? event.exit : undefined
}

const connect = async (
  connection: Connection,
  sandbox: string,
  id: string,
  offset: number,
): Promise<WebSocketLike> => {
  const { WebSocket, baseUrl } = connection.settings
  if (WebSocket === undefined)
    throw new AtollError('unsupported', 'cannot open a terminal: this platform has no WebSocket', {
      remedy: 'give one: new Atoll({ WebSocket }) with the class of the package "ws"',
    })
  // A browser's WebSocket cannot send headers, and a key in an address would end up in logs: so a short-lived
  // token that is good for this sandbox alone.
  const { token } = await connection.json<{ token: string }>({
    method: 'POST',
    path: `/v1/sandboxes/${sandbox}/tokens`,
    json: { ttlMs: tokenTtlMs, access: 'use' },
    act: `open a terminal in ${sandbox}`,
  })
  const url = `${baseUrl.replace(/^http/, 'ws')}/v1/sandboxes/${sandbox}/processes/${id}/terminal?offset=${offset}`
  const socket = new WebSocket(url, ['atoll.terminal', `atoll.token.${token}`])
  socket.binaryType = 'arraybuffer'
  return socket
}
