import type { IncomingMessage } from 'node:http'
import { AtollError } from '@atoll/protocol'
import { type Presented, presentedBy } from './credentials.ts'
import type { PortAccess, PortDeps, PortTarget } from './port-deps.ts'
import { publicOrigin } from './request-headers.ts'

export interface Admitted {
  readonly access: PortAccess
  readonly presented: Presented
}

/** Lets a request in or throws why not. */
export const admit = async (
  deps: PortDeps,
  target: PortTarget,
  request: IncomingMessage,
  evenPublic = false,
): Promise<Admitted> => {
  const presented = presentedBy(request, target.secure)
  const foreign = presented.fromCookie && isForeign(request, target)
  const access = await deps
    .authorizePort({
      sandbox: target.sandbox,
      port: target.port,
      tokens: foreign ? [] : presented.tokens,
      evenPublic,
      remoteAddress: request.socket.remoteAddress ?? 'unknown',
    })
    .catch((error: unknown) => {
      throw foreign ? crossOrigin(target) : error
    })
  return { access, presented }
}

/**
 * True for what another site lets a browser do. Ports of other sandboxes are of the same site, so that SameSite
 * does not keep the cookie back from what code in one of them asks of this one. Following a link is allowed.
 */
const isForeign = ({ headers, method }: IncomingMessage, target: PortTarget): boolean => {
  const { origin } = headers
  if (origin !== undefined && origin.toLowerCase() !== publicOrigin(target)) return true
  const site = headers['sec-fetch-site']
  if (site === undefined || site === 'same-origin' || site === 'none') return false
  return !(headers['sec-fetch-mode'] === 'navigate' && (method === 'GET' || method === 'HEAD'))
}

const crossOrigin = ({ sandbox, port }: PortTarget): AtollError =>
  new AtollError(
    'forbidden',
    `another origin asked for port ${port} of ${sandbox} with its cookie: send a port token in a header, or make the port public`,
  )
