import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import type { Duplex } from 'node:stream'
import { serverOptions } from '@atoll/gateway'
import { AtollError } from '@atoll/protocol'
import type { KeyPair } from './tls.ts'

/** Connections at a time; beyond it new ones are dropped at once instead of starving the others. */
const maxConnections = 4_096
/** Ms that open exchanges get to end when the daemon stops. */
const closeGraceMs = 2_000
/** Streams of one HTTP/2 connection at a time, and its headers. */
const streamsPerConnection = 256
const headerPairs = 256
/** What a client may have under way to us on one stream, and on one connection. */
const streamWindowBytes = 1024 * 1024
const connectionWindowBytes = 16 * 1024 * 1024

export interface Handlers {
  /** False: not for this one; the next is asked. */
  handle(req: IncomingMessage, res: ServerResponse): Promise<boolean>
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** True when `Expect: 100-continue` is for a server behind us to answer. */
  decidesContinue(req: IncomingMessage): boolean
  fallback(req: IncomingMessage, res: ServerResponse): Promise<unknown>
  failed(error: unknown, what: string): void
}

export interface Listening extends AsyncDisposable {
  readonly port: number
  /** Takes another certificate for connections to come. Without TLS it does nothing. */
  useKeyPair(pair: KeyPair): void
}

/** One HTTP server: data traffic to the gateway, all else to control. With a certificate HTTP/2 and 1.1 over TLS. */
export const listen = async (
  handlers: Handlers,
  address: { host: string; port: number },
  pair?: KeyPair,
): Promise<Listening> => {
  const server = pair === undefined ? createServer(serverOptions) : secureServer(pair)
  const sessions = new Set<ServerHttp2Session>()
  server.setTimeout(0)
  server.maxConnections = maxConnections
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => void serve(handlers, req, res)
  // node:http2 shows its requests as node:http's; the types do not say so.
  const events = server as Server
  events.on('request', onRequest)
  events.on('checkContinue', (req, res) => {
    if (!handlers.decidesContinue(req)) res.writeContinue()
    onRequest(req, res)
  })
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session)
    session.setLocalWindowSize(connectionWindowBytes)
    session.once('close', () => sessions.delete(session))
    session.on('error', () => session.destroy())
  })
  const upgraded = new Set<Duplex>()
  events.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy())
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket))
    if (!handlers.upgrade(req, socket, head))
      socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
  })
  await bind(server, address)
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new TypeError('the server has no port')
  return {
    port: bound.port,
    useKeyPair: (next) => 'setSecureContext' in server && server.setSecureContext(next),
    [Symbol.asyncDispose]: () => close(server, upgraded, sessions),
  }
}

const secureServer = (pair: KeyPair): Http2SecureServer =>
  createSecureServer({
    ...pair,
    minVersion: 'TLSv1.2',
    allowHTTP1: true,
    http1Options: serverOptions,
    maxHeaderListPairs: headerPairs,
    settings: {
      maxConcurrentStreams: streamsPerConnection,
      maxHeaderListSize: serverOptions.maxHeaderSize,
      initialWindowSize: streamWindowBytes,
    },
  })

const serve = async (handlers: Handlers, req: IncomingMessage, res: ServerResponse): Promise<void> => {
  try {
    if (!(await handlers.handle(req, res))) await handlers.fallback(req, res)
  } catch (error) {
    handlers.failed(error, `${req.method} ${req.url?.split('?')[0]}`)
    // Headers are out: a cut connection is the only way left to say that this is no end.
    if (res.headersSent) res.destroy()
    else {
      const body = new AtollError('internal', 'a fault of ours; the log of the daemon says more').toBody()
      res.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
  }
}

const bind = (
  server: Server | Http2SecureServer,
  { host, port }: { host: string; port: number },
): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'something else listens there; give another --port' : error.message
      reject(new AtollError('in_use', `cannot listen on ${host}:${port}: ${why}`, { cause: error }))
    })
    server.listen(port, host, () => {
      server.removeAllListeners('error')
      resolve()
    })
  })

const close = async (
  server: Server | Http2SecureServer,
  upgraded: ReadonlySet<Duplex>,
  sessions: ReadonlySet<ServerHttp2Session>,
): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // node:http2's server has both for its HTTP/1.1 connections; the types do not say so.
  const connections = server as Server
  connections.closeIdleConnections()
  for (const session of sessions) session.close()
  const late = setTimeout(() => {
    connections.closeAllConnections()
    for (const session of sessions) session.destroy()
    for (const socket of upgraded) socket.destroy()
  }, closeGraceMs)
  await closed
  clearTimeout(late)
}
