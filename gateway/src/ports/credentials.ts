import type { IncomingMessage } from 'node:http'
import { portNames } from '@atoll/protocol'

/** What a request brought to be let in, and the request without it. */
export interface Presented {
  /** The most explicit first. */
  readonly tokens: readonly string[]
  readonly fromQuery: string | undefined
  readonly fromCookie: boolean
  /** Path and query without our token. */
  readonly path: string
}

/** The cookie's name: `__Host-` binds it to this one host name, and only https can set it. */
export const cookieName = (secure: boolean): string =>
  secure ? '__Host-atoll_port_token' : 'atoll_port_token'
const cookieNames = new Set([cookieName(true), cookieName(false)])

/** Our keys and tokens by their form: everything else in `authorization` is the server's own inside. */
const ours = /^(atoll_|atst_|atpt_)[\x21-\x7e]{1,1024}$/

/** Reads tokens from header, authorization, WebSocket subprotocol, query and cookie, in this order. */
export const presentedBy = (request: IncomingMessage, secure: boolean): Presented => {
  const { headers } = request
  const { path, token: fromQuery } = withoutToken(request.url ?? '/')
  const cookies = cookiesOf(headers.cookie ?? '')
    .filter(([name]) => name === cookieName(secure))
    .map(([, value]) => value)
  const explicit = [
    [headers[portNames.tokenHeader]].flat(),
    bearerOf(headers.authorization),
    protocolsOf(headers['sec-websocket-protocol']).filter(isTokenProtocol).map(tokenOfProtocol),
    fromQuery,
  ].flat()
  const known = (text: string | undefined): text is string => text !== undefined && ours.test(text)
  const tokens = explicit.filter(known)
  return {
    tokens: [...tokens, ...cookies.filter(known)],
    fromQuery,
    fromCookie: tokens.length === 0 && cookies.length > 0,
    path,
  }
}

/** True for an `authorization` that is for us and not for the server inside. */
export const isOurAuthorization = (value: string): boolean => bearerOf(value) !== undefined

/** A Cookie header without ours; undefined when nothing is left. */
export const withoutOurCookies = (header: string): string | undefined => {
  const kept = header.split(';').filter((part) => !cookieNames.has(part.split('=', 1)[0]?.trim() ?? ''))
  const text = kept.join(';').trim()
  return text === '' ? undefined : text
}

/** True for a Set-Cookie by which the server inside would overwrite ours. */
export const setsOurCookie = (header: string): boolean =>
  cookieNames.has(header.split('=', 1)[0]?.trim() ?? '')

/** The subprotocols that are not a token for us; undefined when nothing is left. */
export const withoutTokenProtocols = (header: string): string | undefined => {
  const kept = protocolsOf(header).filter((name) => !isTokenProtocol(name))
  return kept.length === 0 ? undefined : kept.join(', ')
}

const protocolsOf = (header: string | undefined): string[] =>
  (header ?? '').split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]))

const isTokenProtocol = (name: string): boolean => name.startsWith(portNames.tokenProtocolPrefix)

const tokenOfProtocol = (name: string): string => name.slice(portNames.tokenProtocolPrefix.length)

const bearerOf = (authorization: string | undefined): string | undefined => {
  const token = /^Bearer +([\x21-\x7e]{1,1100})$/i.exec(authorization ?? '')?.[1]
  return token !== undefined && ours.test(token) ? token : undefined
}

const cookiesOf = (header: string): [string, string][] =>
  header.split(';').flatMap((part) => {
    const at = part.indexOf('=')
    return at < 0 ? [] : [[part.slice(0, at).trim(), part.slice(at + 1).trim()] as [string, string]]
  })

/** Cuts our token out of an address as text: what is left reaches the server inside byte for byte. */
export const withoutToken = (url: string): { path: string; token: string | undefined } => {
  const mark = url.indexOf('?')
  if (mark < 0) return { path: url, token: undefined }
  let token: string | undefined
  const kept = url
    .slice(mark + 1)
    .split('&')
    .filter((pair) => {
      const [name = '', value = ''] = pair.split('=', 2)
      if (decoded(name) !== portNames.tokenQuery) return true
      token ??= decoded(value)
      return false
    })
  if (token === undefined) return { path: url, token }
  return { path: url.slice(0, mark) + (kept.length === 0 ? '' : `?${kept.join('&')}`), token }
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
