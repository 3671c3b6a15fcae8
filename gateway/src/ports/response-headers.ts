import type { IncomingMessage } from 'node:http'
import { setsOurCookie } from './credentials.ts'
import type { PortTarget } from './port-deps.ts'
import { hopByHop, namedByConnection, publicOrigin } from './request-headers.ts'

/**
 * What an answer from inside may not say to the client: `alt-svc` would take over the next connections, and
 * `x-atoll-` is how the gateway speaks for itself.
 */
const withheld = (name: string): boolean => name === 'alt-svc' || name.startsWith('x-atoll-')

/** The headers for the client, as a flat list; what comes out of a sandbox sets nothing for another name. */
export const headersOutward = (answer: IncomingMessage, target: PortTarget, maskHost: boolean): string[] => {
  const dropped = namedByConnection(answer.headers.connection)
  const list: string[] = []
  const { rawHeaders } = answer
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || dropped.has(lower) || withheld(lower)) continue
    const kept = outward(lower, value, target, maskHost)
    if (kept !== undefined) list.push(name, kept)
  }
  return list
}

const outward = (name: string, value: string, target: PortTarget, maskHost: boolean): string | undefined => {
  switch (name) {
    case 'location':
    case 'content-location':
      return maskHost ? unmasked(value, target) : value
    case 'set-cookie':
      return setsOurCookie(value) ? undefined : hostOnly(value)
    default:
      return value
  }
}

/** A server that was told that it is `localhost:port` redirects there; the client knows it by another name. */
const unmasked = (location: string, target: PortTarget): string => {
  const match = /^https?:\/\/(?:localhost|127\.0\.0\.1):(\d+)(?=[/?#]|$)/i.exec(location)
  const origin = publicOrigin(target)
  return match?.[1] === String(target.port) && origin !== undefined
    ? origin + location.slice(match[0].length)
    : location
}

/**
 * Without its Domain: a cookie for the domain above would be sent to every other sandbox, and to the API's name.
 * A cookie for its own name is what it becomes.
 */
const hostOnly = (cookie: string): string =>
  cookie
    .split(';')
    .filter((part, index) => index === 0 || !/^\s*domain\s*(=|$)/i.test(part))
    .join(';')
