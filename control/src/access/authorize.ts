import { AtollError } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { noSandbox, sandboxEnded } from '../sandboxes/find.ts'
import { authenticate, bearerOf, type Gates, refuseGuessing, unauthenticated } from './authenticate.ts'
import { rateLimited } from './buckets.ts'
import type { Owner } from './owner-cache.ts'
import { refuseWithoutRoom } from './room-to-wake.ts'
import { need } from './scope.ts'
import { isSandboxToken, readToken, type TokenAccess } from './sandbox-token.ts'

/** What the gateway asks before it lets a call through to a guest. */
export interface AccessRequest {
  readonly sandbox: string
  readonly access: TokenAccess
  readonly authorization: string | undefined
  /** A sandbox token that came in the query or in a WebSocket subprotocol. */
  readonly token: string | undefined
  readonly remoteAddress: string
}

export interface Access {
  readonly project: string
  /** The key that acts, itself or through a token. */
  readonly key: string
  /** Calls back when that key is revoked: a stream that it opened must not outlive it. */
  onRevoked(cut: () => void): Disposable
}

export type Authorize = (request: AccessRequest) => Promise<Access>

/** Decides on calls to a sandbox's guest: from memory, without a query once key and sandbox were seen. */
export const authorizer =
  (context: Context, gates: Gates): Authorize =>
  async (request) => {
    const given = bearerOf(request.authorization) ?? request.token
    if (given !== undefined && isSandboxToken(given)) return await byToken(context, gates, request, given)
    const caller = await authenticate(context, gates, request.authorization, request.remoteAddress)
    const owner = await context.owners.load(request.sandbox)
    if (owner === undefined) throw noSandbox(request.sandbox)
    if (owner.project !== caller.project && !caller.scopes.has('admin')) throw noSandbox(request.sandbox)
    need(caller, request.access === 'read' ? 'sandboxes:read' : 'sandboxes:write')
    await refuse(context, request, owner)
    return accessOf(context, owner, caller.key)
  }

const accessOf = (context: Context, owner: Owner, key: string): Access => ({
  project: owner.project,
  key,
  onRevoked(cut) {
    const cuts = context.keys.cached(key)?.cuts
    cuts?.add(cut)
    return { [Symbol.dispose]: () => void cuts?.delete(cut) }
  },
})

const byToken = async (
  context: Context,
  gates: Gates,
  request: AccessRequest,
  token: string,
): Promise<Access> => {
  const claims = readToken(context.tokenKey, token, context.clock.now())
  const key = claims === undefined ? undefined : await context.keys.load(claims.key)
  if (claims === undefined || key === undefined || key.revoked) {
    refuseGuessing(gates, request.remoteAddress)
    gates.failures.take(request.remoteAddress)
    throw unauthenticated(false)
  }
  const owner = await context.owners.load(request.sandbox)
  if (claims.sandbox !== request.sandbox || owner === undefined) throw noSandbox(request.sandbox)
  if (request.access === 'use' && claims.access === 'read')
    throw new AtollError(
      'forbidden',
      `the token may read sandbox ${request.sandbox} and not use it: ask for one with the access use`,
    )
  const waitMs = gates.requests.take(`token of ${claims.sandbox}`)
  if (waitMs > 0) throw rateLimited(`requests with tokens of ${claims.sandbox}`, waitMs)
  await refuse(context, request, owner)
  return accessOf(context, owner, claims.key)
}

const refuse = async (context: Context, request: AccessRequest, owner: Owner): Promise<void> => {
  if (owner.state === 'ended') throw sandboxEnded(request.sandbox, 'use', owner.ended)
  if (owner.state === 'paused') await refuseWithoutRoom(context, request.sandbox)
}
