import { AtollError, portHostLabel } from '@atoll/protocol'

/** The name under which clients reach Atoll, where it is another than the address it listens at. */
export interface PublicName {
  readonly domain: string
  /** Absent: the port that it listens at. */
  readonly port: number | undefined
  /** Absent: whether it serves TLS itself. */
  readonly secure: boolean | undefined
}

/** Works without any set-up: browsers and resolvers take names below `localhost` for this machine. */
export const localDomain = 'localhost'

/** `--domain`: `example.dev`, `example.dev:8443`, or `https://example.dev` behind a proxy that serves TLS. */
export const publicNameOf = (given: string | undefined): PublicName | undefined => {
  if (given === undefined) return undefined
  const match = /^(?:(https?):\/\/)?([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::(\d{1,5}))?\/?$/i.exec(given)
  const [, scheme, domain, port] = match ?? []
  if (domain === undefined || /^[\d.]+$/.test(domain) || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535)
    throw new AtollError(
      'invalid_request',
      `cannot use ${JSON.stringify(given)} as --domain: give a name like example.dev, and *.example.dev must lead here, too`,
    )
  const secure = scheme === undefined ? undefined : scheme.toLowerCase() === 'https'
  const standard = secure === undefined ? undefined : secure ? 443 : 80
  return { domain: domain.toLowerCase(), port: port === undefined ? standard : Number(port), secure }
}

/** What is known once it listens. */
export interface Front {
  readonly name: PublicName | undefined
  readonly listeningPort: number
  readonly tls: boolean
}

/** The address of the API by the public name; undefined where it has none. */
export const publicUrl = (front: Front): string | undefined =>
  front.name === undefined ? undefined : originOf(front, front.name.domain)

/** Where a browser finds a port of a sandbox. */
export const portUrl = (front: Front, sandbox: string, port: number): string =>
  originOf(front, `${portHostLabel(sandbox, port)}.${front.name?.domain ?? localDomain}`)

const originOf = ({ name, listeningPort, tls }: Front, host: string): string => {
  const secure = name?.secure ?? tls
  const port = name?.port ?? listeningPort
  return `${secure ? 'https' : 'http'}://${host}${port === (secure ? 443 : 80) ? '' : `:${port}`}`
}
