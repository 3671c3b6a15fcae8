import type { GatewayDeps } from '../call.ts'
import type { PortLimits } from './limits.ts'

/** What is asked before a connection to a port passes; control answers, from memory. Rejects with an AtollError. */
export interface PortAccessRequest {
  readonly sandbox: string
  readonly port: number
  /** Port tokens, sandbox tokens and API keys that came along, the most explicit first. */
  readonly tokens: readonly string[]
  /** True for a tunnel: a call of the API, which needs a token at a public port as well. */
  readonly evenPublic: boolean
  readonly remoteAddress: string
}

export interface PortAccess {
  readonly maskHost: boolean
  /** When the token that opened it ends; null for keys and public ports. */
  readonly expiresAtMs: number | null
  onRevoked(cut: () => void): Disposable
}

/** A domain below which ports have their names. */
export interface PortDomain {
  readonly name: string
  /** Browsers reach it by https, be it through a proxy in front. */
  readonly secure: boolean
}

export interface PortOptions {
  readonly authorize: (request: PortAccessRequest) => Promise<PortAccess>
  readonly domains: readonly PortDomain[]
  /**
   * Calls back when a sandbox no longer runs. A kept connection to it is given up then: what is sent over one into a
   * frozen sandbox waits, and only a new connection wakes it.
   */
  readonly onStill?: (listener: (sandbox: string) => void) => Disposable
  readonly limits?: Partial<PortLimits>
}

/** What everything in this folder gets as its first argument. */
export interface PortDeps extends Omit<GatewayDeps, 'authorize' | 'limits'> {
  readonly authorizePort: PortOptions['authorize']
  readonly domains: readonly PortDomain[]
  readonly limits: PortLimits
  readonly gatewayLimits: GatewayDeps['limits']
}

/** A port that a request names, and how the client named it. */
export interface PortTarget {
  readonly sandbox: string
  readonly port: number
  /** The origin that the client sees; null when headers name the port, since then it has none. */
  readonly publicHost: string | null
  readonly secure: boolean
}
