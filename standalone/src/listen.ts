import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { serverOptions } from '@atoll/gateway'
import { AtollError } from '@atoll/protocol'

/** Connections at a time; beyond it new ones are dropped at once instead of starving the others. */
const maxConnections = 4_096
/** Ms that open exchanges get to end when the daemon stops. */
const closeGraceMs = 2_000

export interface Handlers {
  /** False: not for this one; the next is asked. */
  handle(req: IncomingMessage, res: ServerResponse): Promise<boolean>
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): boolean
  fallback(req: IncomingMessage, res: ServerResponse): Promise<unknown>
  failed(error: unknown, what: string): void
}

/** One HTTP server: data traffic to the gateway, all else to control. */
export const listen = async (
  handlers: Handlers,
  address: { host: string; port: number },
): Promise<{ port: number } & AsyncDisposable> => {
  const server = createServer(serverOptions, (req, res) => void serve(handlers, req, res))
  server.timeout = 0
  server.maxConnections = maxConnections
  const upgraded = new Set<Duplex>()
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => socket.destroy())
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket))
    if (!handlers.upgrade(req, socket, head))
      socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
  })
  await bind(server, address)
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new TypeError('the server has no port')
  return { port: bound.port, [Symbol.asyncDispose]: () => close(server, upgraded) }
}

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

const bind = (server: Server, { host, port }: { host: string; port: number }): Promise<void> =>
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

const close = async (server: Server, upgraded: ReadonlySet<Duplex>): Promise<void> => {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const late = setTimeout(() => {
    server.closeAllConnections()
    for (const socket of upgraded) socket.destroy()
  }, closeGraceMs)
  await closed
  clearTimeout(late)
}
