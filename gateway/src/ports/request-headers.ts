import type { IncomingMessage } from 'node:http'
import { isOurAuthorization, withoutOurCookies, withoutToken, withoutTokenProtocols } from './credentials.ts'
import type { PortTarget } from './port-deps.ts'

/** Of one connection, not of the message (RFC 9110, 7.6.1), and what old software made of that. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

/** What we say ourselves: a client's word for them would be believed inside. */
const said = new Set([
  'host',
  'expect',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
])

/** The host that the server inside sees. */
export const hostInside = (target: PortTarget, maskHost: boolean): string =>
  maskHost || target.publicHost === null ? `localhost:${target.port}` : target.publicHost

/**
 * The headers for the server inside, as a flat list: its own ones as they came, in order and with their doubles;
 * without what is of the client's connection, and without everything that let the client in (invariant 7).
 */
export const headersInward = (request: IncomingMessage, target: PortTarget, maskHost: boolean): string[] => {
  const dropped = namedByConnection(request.headers.connection)
  const list = ['Host', hostInside(target, maskHost)]
  const { rawHeaders } = request
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    const lower = name.toLowerCase()
    if (lower.startsWith(':') || lower.startsWith('x-atoll-')) continue
    if (hopByHop.has(lower) || said.has(lower) || dropped.has(lower)) continue
    const kept = inward(lower, value, target, maskHost)
    if (kept !== undefined) list.push(name, kept)
  }
  const client = request.socket.remoteAddress
  if (client !== undefined) list.push('X-Forwarded-For', client)
  list.push('X-Forwarded-Proto', target.secure ? 'https' : 'http')
  if (target.publicHost !== null) list.push('X-Forwarded-Host', target.publicHost)
  return list
}

const inward = (name: string, value: string, target: PortTarget, maskHost: boolean): string | undefined => {
  switch (name) {
    case 'authorization':
      return isOurAuthorization(value) ? undefined : value
    case 'cookie':
      return withoutOurCookies(value)
    case 'sec-websocket-protocol':
      return withoutTokenProtocols(value)
    case 'referer':
      return withoutToken(value).path
    case 'origin':
      // Dev servers and CSRF guards compare it with Host: what was equal must stay equal, and nothing else become so.
      return maskHost && value.toLowerCase() === publicOrigin(target)
        ? `http://localhost:${target.port}`
        : value
    default:
      return value
  }
}

/** The origin under which a browser sees the port; undefined when headers named it. */
export const publicOrigin = ({ publicHost, secure }: PortTarget): string | undefined =>
  publicHost === null ? undefined : `${secure ? 'https' : 'http'}://${publicHost}`

/** Names that a Connection header makes hop-by-hop; never those that frame the message. */
export const namedByConnection = (connection: string | string[] | undefined): ReadonlySet<string> =>
  new Set(
    [connection ?? []]
      .flat()
      .flatMap((value) => value.toLowerCase().split(','))
      .map((name) => name.trim())
      .filter((name) => name !== 'content-length' && name !== 'host'),
  )
