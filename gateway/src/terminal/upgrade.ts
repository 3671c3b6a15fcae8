import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { WebSocketServer } from 'ws'
import { accessOf } from '../access-of.ts'
import { errorHeaders, toAtollError } from '../answer.ts'
import type { GatewayDeps, GuestCall } from '../call.ts'
import { type Match, matchPath } from '../match-path.ts'
import { openOutput } from '../processes/output.ts'
import { relayTerminal } from './relay.ts'

/** The subprotocol that is spoken, and the one that only carries a token (browsers set no headers). */
const protocol = 'atoll.terminal'
const tokenPrefix = 'atoll.token.'

/** Takes upgrades to `…/processes/{pid}/terminal`. */
export const terminals = (deps: GatewayDeps) => {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: deps.limits.terminalMessageBytes,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  })
  return {
    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
      const match = matchPath(request.url ?? '')
      if (match?.route !== 'processes/*/terminal') return false
      socket.on('error', () => socket.destroy())
      void open(deps, server, match, request, socket, head)
      return true
    },
    close(): void {
      for (const client of server.clients) client.close(1001, 'the gateway stops')
    },
  }
}

const open = async (
  deps: GatewayDeps,
  server: WebSocketServer,
  match: Match,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> => {
  const traceId = Buffer.from(deps.random(16)).toString('hex')
  const gone = new AbortController()
  socket.once('close', () => gone.abort(new AtollError('canceled', 'the client went away')))
  try {
    if (server.clients.size >= deps.limits.terminals)
      throw new AtollError(
        'overloaded',
        `cannot open a terminal: ${deps.limits.terminals} are open; close one`,
      )
    const asked = accessOf(request, match, 'use')
    const access = await deps.authorize({ ...asked, token: asked.token ?? offeredToken(request) })
    const { sandbox, names, query } = match
    const call: GuestCall = {
      deps,
      node: deps.node(sandbox),
      sandbox,
      access,
      query,
      names,
      gone: gone.signal,
    }
    // Before the upgrade: what the guest refuses can still be told with a status.
    const events = await openOutput(call, names[0] ?? '', true, gone.signal)
    server.handleUpgrade(request, socket, head, (client) => {
      const revocation = access.onRevoked(() => client.close(1008, 'the key was revoked'))
      relayTerminal(call, client, events)
        .catch((error: unknown) =>
          deps.logger.error({ traceId, error: String(error) }, 'a terminal met a fault of ours'),
        )
        .finally(() => revocation[Symbol.dispose]())
    })
  } catch (error) {
    refuse(socket, toAtollError(error, deps.logger, traceId), traceId)
  }
}

const offeredToken = (request: IncomingMessage): string | undefined =>
  (request.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((offered) => offered.trim())
    .find((offered) => offered.startsWith(tokenPrefix))
    ?.slice(tokenPrefix.length)

const refuse = (socket: Duplex, error: AtollError, traceId: string): void => {
  const body = JSON.stringify(error.toBody(traceId))
  const headers = {
    ...errorHeaders(error, traceId),
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status] ?? 'Error'}\r\n${lines.join('')}\r\n${body}`,
  )
}
