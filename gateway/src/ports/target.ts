import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { AtollError, parsePortHostLabel, portNames, portNumberSchema, sandboxIdSchema } from '@atoll/protocol'
import type { PortDomain, PortTarget } from './port-deps.ts'

/**
 * The port that a request is for, by its host name or by its headers; undefined when it is for the API. Whatever
 * looks like a port and names none is refused, and never taken for a call of the API.
 */
export const targetOf = (
  request: IncomingMessage,
  domains: readonly PortDomain[],
): PortTarget | undefined => {
  const host = hostOf(request)
  const encrypted = request.socket instanceof TLSSocket
  const named = host === undefined ? undefined : byHost(host, encrypted, domains)
  const header = byHeaders(request, encrypted)
  if (named !== undefined && header !== undefined)
    if (named.sandbox !== header.sandbox || named.port !== header.port)
      throw invalid(
        `the host name and the headers ${portNames.sandboxHeader} and ${portNames.portHeader} differ`,
      )
  const target = named ?? header
  if (target !== undefined && !/^(\/[\x21-\xff]*|\*)$/.test(request.url ?? ''))
    throw invalid('the request target must be a path')
  return target
}

/** The host that is asked for; two that differ are an attempt to be routed one way and read another way. */
const hostOf = (request: IncomingMessage): string | undefined => {
  const hosts = new Set<string>()
  const { rawHeaders } = request
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase()
    if (name === 'host' || name === ':authority') hosts.add(rawHeaders[index + 1]?.toLowerCase() ?? '')
  }
  if (hosts.size > 1) throw invalid('the request names more than one host')
  return [...hosts][0]
}

const byHost = (host: string, encrypted: boolean, domains: readonly PortDomain[]): PortTarget | undefined => {
  const name = host.replace(/:\d*$/, '').replace(/\.$/, '')
  const domain = domains.find((known) => name.endsWith(`.${known.name}`))
  const label = domain === undefined ? '' : name.slice(0, -domain.name.length - 1)
  // Everything else below the domain may be the API's own name.
  if (domain === undefined || !/^\d|-sbx-|^sbx-/.test(label)) return undefined
  const parsed = parsePortHostLabel(label)
  if (parsed === undefined)
    throw new AtollError(
      'not_found',
      `the host name ${name} names no port: it must be <port>-<sandbox>.${domain.name}, with sbx- for sbx_`,
    )
  return { ...parsed, publicHost: host, secure: encrypted || domain.secure }
}

const byHeaders = ({ headers, socket }: IncomingMessage, encrypted: boolean): PortTarget | undefined => {
  const [id, number] = [headers[portNames.sandboxHeader], headers[portNames.portHeader]]
  if (id === undefined && number === undefined) return undefined
  const sandbox = sandboxIdSchema.safeParse(id)
  const text = typeof number === 'string' && /^[1-9]\d{0,4}$/.test(number) ? Number(number) : undefined
  const port = portNumberSchema.safeParse(text)
  if (!sandbox.success || !port.success || socket.destroyed)
    throw invalid(`${portNames.sandboxHeader} must be one sandbox and ${portNames.portHeader} one port`)
  return { sandbox: sandbox.data, port: port.data, publicHost: null, secure: encrypted }
}

const invalid = (what: string): AtollError =>
  new AtollError('invalid_request', `cannot tell which port is meant: ${what}`)
