import { AtollError } from '@atoll/protocol'
import { type Gates, refuseGuessing } from '../access/authenticate.ts'
import type { Authorize } from '../access/authorize.ts'
import { rateLimited } from '../access/buckets.ts'
import type { Context } from '../context.ts'
import { noSandbox, sandboxEnded } from '../sandboxes/find.ts'
import { portLimits } from './limits.ts'
import type { KnownPort } from './port-cache.ts'
import { isPortToken, readPortToken } from './port-token.ts'

/** What the gateway asks before it lets a connection through to a port. */
export interface PortAccessRequest {
  readonly sandbox: string
  readonly port: number
  /** Port tokens, sandbox tokens and API keys that came with the request, the most explicit first. */
  readonly tokens: readonly string[]
  /** A tunnel needs a token at a public port as well: it is a call of the API. */
  readonly evenPublic: boolean
  readonly remoteAddress: string
}

export interface PortAccessGranted {
  readonly maskHost: boolean
  /** When the token that opened it ends; null for keys and public ports. */
  readonly expiresAtMs: number | null
  /** Calls back when what opened it is revoked: a connection must not outlive that. */
  onRevoked(cut: () => void): Disposable
}

export type AuthorizePort = (request: PortAccessRequest) => Promise<PortAccessGranted>

/** Decides on connections to ports, from memory once key, sandbox and port were seen. */
export const portAuthorizer =
  (context: Context, gates: Gates, authorize: Authorize): AuthorizePort =>
  async (request) => {
    const { sandbox, port } = request
    const owner = await context.owners.load(sandbox)
    let refused: unknown
    for (const token of request.tokens.slice(0, portLimits.tokensPerRequest))
      try {
        const granted = isPortToken(token)
          ? await byPortToken(context, gates, request, token)
          : await authorize({
              sandbox,
              access: 'use',
              authorization: `Bearer ${token}`,
              token: undefined,
              remoteAddress: request.remoteAddress,
            })
        const { maskHost } = await context.ports.load(sandbox, port)
        return { ...granted, maskHost, expiresAtMs: expiryOf(granted) }
      } catch (error) {
        // That it ended is the answer, whatever else was brought along.
        if (error instanceof AtollError && error.code === 'sandbox_ended') throw error
        refused ??= error
      }
    // Asked last: settings that changed meanwhile are the ones that count.
    const known = owner === undefined ? undefined : await context.ports.load(sandbox, port)
    if (known?.access === 'public' && owner !== undefined && !request.evenPublic) {
      if (owner.state === 'ended') throw sandboxEnded(sandbox, 'reach', owner.ended)
      return byNobody(known)
    }
    throw refused ?? needsToken(sandbox, port)
  }

/** For all who have no token an unknown sandbox looks like a private one. */
const needsToken = (sandbox: string, port: number): AtollError =>
  new AtollError(
    'unauthenticated',
    `port ${port} of ${sandbox} is private: open it with a link, or send a token for it`,
    { remedy: `atoll port link ${sandbox} ${port}` },
  )

const expiryOf = (granted: object): number | null =>
  'expiresAtMs' in granted && typeof granted.expiresAtMs === 'number' ? granted.expiresAtMs : null

const byNobody = (known: KnownPort): PortAccessGranted => ({
  maskHost: known.maskHost,
  expiresAtMs: null,
  onRevoked(cut) {
    known.cuts.add(cut)
    return { [Symbol.dispose]: () => void known.cuts.delete(cut) }
  },
})

const byPortToken = async (context: Context, gates: Gates, request: PortAccessRequest, token: string) => {
  const claims = readPortToken(context.tokenKey, token)
  if (claims === undefined) {
    refuseGuessing(gates, request.remoteAddress)
    gates.failures.take(request.remoteAddress)
    throw new AtollError('unauthenticated', 'the port token is not one of ours; ask for another link')
  }
  const { sandbox, port, key, expiresAtMs } = claims
  if (sandbox !== request.sandbox || port !== request.port)
    throw new AtollError(
      'forbidden',
      `the port token is for another port or sandbox than port ${request.port} of ${request.sandbox}; ask for one`,
    )
  const maker = await context.keys.load(key)
  if (expiresAtMs <= context.clock.now() || maker === undefined || maker.revoked)
    throw new AtollError('unauthenticated', 'the link or port token is over; ask for another one', {
      remedy: `atoll port link ${sandbox} ${port}`,
    })
  const waitMs = gates.requests.take(`ports of ${sandbox}`)
  if (waitMs > 0) throw rateLimited(`requests to ports of ${sandbox}`, waitMs)
  const owner = await context.owners.load(sandbox)
  if (owner === undefined) throw noSandbox(sandbox)
  if (owner.state === 'ended') throw sandboxEnded(sandbox, 'reach', owner.ended)
  return {
    expiresAtMs,
    onRevoked(cut: () => void): Disposable {
      maker.cuts.add(cut)
      return { [Symbol.dispose]: () => void maker.cuts.delete(cut) }
    },
  }
}
