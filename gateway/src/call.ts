import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '@atoll/kit'
import type { NodeApi } from '@atoll/protocol'
import type { GatewayLimits } from './limits.ts'
import type { BegunInputs } from './processes/inputs.ts'

/** Where the gateway writes what it sees. pino fits. Never a secret (invariant 7). */
export interface Logger {
  info(fields: Readonly<Record<string, unknown>>, message: string): void
  warn(fields: Readonly<Record<string, unknown>>, message: string): void
  error(fields: Readonly<Record<string, unknown>>, message: string): void
}

/** What is asked before a call passes; control answers, from memory. Rejects with an AtollError. */
export interface AccessRequest {
  readonly sandbox: string
  readonly access: 'read' | 'use'
  readonly authorization: string | undefined
  /** A sandbox token from the query or a WebSocket subprotocol. */
  readonly token: string | undefined
  readonly remoteAddress: string
}

export interface Access {
  readonly project: string
  readonly key: string
  /** Calls back when that key is revoked: a stream that it opened must not outlive it. */
  onRevoked(cut: () => void): Disposable
}

export interface GatewayDeps {
  readonly authorize: (request: AccessRequest) => Promise<Access>
  /** The node that holds a sandbox. */
  readonly node: (sandbox: string) => NodeApi
  readonly clock: Clock
  readonly random: (bytes: number) => Uint8Array
  readonly logger: Logger
  readonly limits: GatewayLimits
  readonly inputs: BegunInputs
}

/** A call to one sandbox that was found and allowed. */
export interface GuestCall {
  readonly deps: GatewayDeps
  readonly node: NodeApi
  readonly sandbox: string
  readonly access: Access
  readonly query: URLSearchParams
  /** The variable segments of the path, in order. */
  readonly names: readonly string[]
  /** Aborts when the client is gone before its answer was complete. */
  readonly gone: AbortSignal
}

/** A GuestCall over plain HTTP. */
export interface Call extends GuestCall {
  readonly request: IncomingMessage
  readonly response: ServerResponse
}
