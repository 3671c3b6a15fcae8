import type { IncomingMessage, ServerResponse } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import type { GatewayDeps } from '../call.ts'
import { type Admitted, admit } from './admit.ts'
import { cookieName } from './credentials.ts'
import { explain } from './explain.ts'
import { portLimits } from './limits.ts'
import { connectionPool } from './pool.ts'
import type { PortDeps, PortOptions, PortTarget } from './port-deps.ts'
import { refuse, refuseUpgrade } from './refuse.ts'
import { relay } from './relay.ts'
import { publicOrigin } from './request-headers.ts'
import { targetOf } from './target.ts'
import { tunnelServer, tunnelTarget } from './tunnel.ts'
import { relayUpgrade } from './upgrade.ts'

export interface PortGate {
  /** False: the request is not for a port. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<boolean>
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** True when the server inside is to decide on `Expect: 100-continue`. */
  decidesContinue(request: IncomingMessage): boolean
  close(): void
}

/** The way in to the ports of sandboxes: host name or headers, then a token, then the server inside. */
export const portGate = (base: GatewayDeps, options: PortOptions): PortGate => {
  const deps: PortDeps = {
    ...base,
    authorizePort: options.authorize,
    domains: options.domains,
    limits: { ...portLimits, ...options.limits },
    gatewayLimits: base.limits,
  }
  const pool = connectionPool(deps)
  const tunnels = tunnelServer(deps, pool)
  const still = options.onStill?.((sandbox) => pool.forget(sandbox))
  const isTunnel = (request: IncomingMessage) =>
    tunnelTarget(request.url ?? '', request.socket instanceof TLSSocket)
  return {
    async handle(request, response) {
      const target = named(deps, request)
      if (target === undefined) return false
      await answered(deps, request, response, target, async (port) => {
        const admitted = await admit(deps, port, request)
        if (redirects(port, admitted, request, response)) return
        const { access, presented } = admitted
        using _revocation = access.onRevoked(() => response.destroy())
        await relay(deps, pool, {
          target: port,
          maskHost: access.maskHost,
          path: presented.path,
          request,
          response,
        })
      })
      return true
    },
    upgrade(request, socket, head) {
      const target = named(deps, request)
      const tunnel = target === undefined ? isTunnel(request) : undefined
      if (target === undefined && tunnel === undefined) return false
      void upgraded(deps, request, socket, target ?? tunnel, (port, gone) =>
        tunnel === undefined
          ? relayUpgrade(deps, pool, port, request, socket, head, gone)
          : tunnels.open(port, request, socket, head, gone),
      )
      return true
    },
    decidesContinue: (request) => named(deps, request) !== undefined,
    close() {
      still?.[Symbol.dispose]()
      tunnels.close()
      pool.close()
    },
  }
}

/** The target, or why the request's is none: told when the answer is due. */
const named = (deps: PortDeps, request: IncomingMessage): PortTarget | AtollError | undefined => {
  try {
    return targetOf(request, deps.domains)
  } catch (error) {
    if (error instanceof AtollError) return error
    throw error
  }
}

const answered = async (
  deps: PortDeps,
  request: IncomingMessage,
  response: ServerResponse,
  target: PortTarget | AtollError,
  work: (target: PortTarget) => Promise<void>,
): Promise<void> => {
  const traceId = Buffer.from(deps.random(16)).toString('hex')
  if (target instanceof AtollError) return refuse(response, target, request, traceId)
  try {
    await work(target)
  } catch (error) {
    if (response.destroyed || response.headersSent) response.destroy()
    else refuse(response, explain(deps, target, error, traceId), request, traceId)
  }
}

const upgraded = async (
  deps: PortDeps,
  request: IncomingMessage,
  socket: Duplex,
  target: PortTarget | AtollError | undefined,
  /** Rejects only while nothing was written to the socket. */
  work: (target: PortTarget, gone: AbortSignal) => Promise<void>,
): Promise<void> => {
  const traceId = Buffer.from(deps.random(16)).toString('hex')
  const gone = new AbortController()
  socket.on('error', () => socket.destroy())
  socket.once('close', () => gone.abort(new AtollError('canceled', 'the client went away')))
  if (target === undefined || target instanceof AtollError) {
    if (target !== undefined) refuseUpgrade(socket, target, request, traceId)
    return
  }
  try {
    await work(target, gone.signal)
  } catch (error) {
    refuseUpgrade(socket, explain(deps, target, error, traceId), request, traceId)
  }
}

/**
 * A browser that followed a link gets the token as a cookie and an address without it, which would be kept in
 * histories and logs. Whatever else carries the token in its address is served at once.
 */
const redirects = (
  target: PortTarget,
  { access, presented }: Admitted,
  request: IncomingMessage,
  response: ServerResponse,
): boolean => {
  const origin = publicOrigin(target)
  const { fromQuery, path } = presented
  if (fromQuery === undefined || origin === undefined || access.expiresAtMs === null) return false
  const navigates =
    request.headers['sec-fetch-mode'] === 'navigate' || /\btext\/html\b/.test(request.headers.accept ?? '')
  if (request.method !== 'GET' || !navigates || !presented.tokens.includes(fromQuery)) return false
  const expires = new Date(access.expiresAtMs).toUTCString()
  const secure = target.secure ? '; Secure' : ''
  response.writeHead(303, {
    location: origin + path,
    'set-cookie': `${cookieName(target.secure)}=${fromQuery}; Path=/; Expires=${expires}; HttpOnly; SameSite=Lax${secure}`,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'content-length': '0',
  })
  response.end()
  return true
}
