import { timingSafeEqual } from 'node:crypto'
import { AtollError } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { rateLimited, type TokenBuckets } from './buckets.ts'
import type { KnownKey } from './key-cache.ts'
import { hashKey, keyIdOf } from './secret.ts'

export interface Gates {
  readonly requests: TokenBuckets
  readonly failures: TokenBuckets
}

/**
 * Who calls, by an API key. The key is looked up first: who guesses beside us, or behind our NAT, must not lock a
 * good key out. So a guess costs one look at a primary key, and past the limit an answer that tells nothing.
 */
export const authenticate = async (
  context: Context,
  gates: Gates,
  authorization: string | undefined,
  remoteAddress: string,
): Promise<Caller> => {
  const text = bearerOf(authorization)
  const id = text === undefined ? undefined : keyIdOf(text)
  const key = id === undefined ? undefined : await context.keys.load(id)
  if (text === undefined || key === undefined || !matches(key, text) || key.revoked) {
    refuseGuessing(gates, remoteAddress)
    gates.failures.take(remoteAddress)
    throw unauthenticated(authorization === undefined)
  }
  const waitMs = gates.requests.take(key.id)
  if (waitMs > 0) throw rateLimited(`requests with key ${key.id}`, waitMs)
  context.keys.markUsed(key.id, context.clock.now())
  return { key: key.id, project: key.project, scopes: key.scopes }
}

/** The text behind `Bearer`. */
export const bearerOf = (authorization: string | undefined): string | undefined =>
  /^Bearer +([\x21-\x7e]{1,1024})$/i.exec(authorization ?? '')?.[1]

/** Throws when the address failed too often of late. */
export const refuseGuessing = (gates: Gates, remoteAddress: string): void => {
  const waitMs = gates.failures.peek(remoteAddress)
  if (waitMs > 0) throw rateLimited('failed authentications from this address', waitMs)
}

/** The refusal without a hint at what was wrong. */
export const unauthenticated = (absent: boolean): AtollError =>
  new AtollError(
    'unauthenticated',
    absent
      ? 'cannot tell who calls: send the header "authorization: Bearer <key>"'
      : 'cannot tell who calls: the key is unknown, revoked or expired; use another one',
  )

const matches = (key: KnownKey, text: string): boolean => timingSafeEqual(key.hash, hashKey(text))
