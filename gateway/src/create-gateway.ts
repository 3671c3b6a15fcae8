import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import { sendError, toAtollError } from './answer.ts'
import { accessOf } from './access-of.ts'
import type { GatewayDeps } from './call.ts'
import { type GatewayLimits, gatewayLimits } from './limits.ts'
import { type Match, matchPath } from './match-path.ts'
import { portGate } from './ports/port-gate.ts'
import type { PortOptions } from './ports/port-deps.ts'
import { begunInputs } from './processes/inputs.ts'
import { routes } from './routes.ts'
import { terminals } from './terminal/upgrade.ts'

export interface Gateway {
  /** Serves a call to a guest; false when the path is not the data plane's, and nothing was touched. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<boolean>
  /** Takes an upgrade to a terminal, a tunnel or a port; false when it is for none. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** True for a request whose `Expect: 100-continue` is not ours to answer. */
  decidesContinue(request: IncomingMessage): boolean
  /** Ends all terminals and tunnels, and the connections to guests. */
  close(): void
}

export interface GatewayOptions extends Pick<GatewayDeps, 'authorize' | 'node' | 'logger'> {
  readonly clock?: Clock
  readonly random?: GatewayDeps['random']
  readonly limits?: Partial<GatewayLimits>
  /** Absent: no port of a sandbox can be reached. */
  readonly ports?: PortOptions
}

/** The edge: carries processes, files and terminals to the node that holds the sandbox. Keeps no state. */
export const createGateway = (options: GatewayOptions): Gateway => {
  const deps: GatewayDeps = {
    clock: systemClock,
    random: randomBytes,
    ...options,
    inputs: begunInputs(),
    limits: { ...gatewayLimits, ...options.limits },
  }
  const terminal = terminals(deps)
  const ports = options.ports === undefined ? undefined : portGate(deps, options.ports)
  return {
    async handle(request, response) {
      // First: a port's own paths may look like ours.
      if (await ports?.handle(request, response)) return true
      const match = matchPath(request.url ?? '')
      if (match === undefined) return false
      await serve(deps, match, request, response)
      return true
    },
    upgrade: (request, socket, head) =>
      ports?.upgrade(request, socket, head) === true || terminal.upgrade(request, socket, head),
    decidesContinue: (request) => ports?.decidesContinue(request) === true,
    close() {
      ports?.close()
      terminal.close()
    },
  }
}

const serve = async (
  deps: GatewayDeps,
  match: Match,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> => {
  const traceId = Buffer.from(deps.random(16)).toString('hex')
  response.setHeader('x-atoll-trace-id', traceId)
  const gone = goneSignal(response)
  try {
    const route = Object.hasOwn(routes, `${request.method} ${match.route}`)
      ? routes[`${request.method} ${match.route}`]
      : undefined
    const access = await deps.authorize(accessOf(request, match, route?.access ?? 'read'))
    if (route === undefined)
      throw new AtollError('not_found', `no route ${request.method} …/${match.route}; see the reference`)
    using _revocation = access.onRevoked(() => response.destroy())
    const { sandbox, names, query } = match
    await route.run({
      deps,
      node: deps.node(sandbox),
      sandbox,
      access,
      query,
      names,
      gone,
      request,
      response,
    })
  } catch (error) {
    if (gone.aborted) response.destroy()
    else sendError(response, toAtollError(error, deps.logger, traceId), traceId)
  }
}

/** Aborts when the connection goes before the answer was complete. */
const goneSignal = (response: ServerResponse): AbortSignal => {
  const controller = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) controller.abort(new AtollError('canceled', 'the client went away'))
  })
  return controller.signal
}
