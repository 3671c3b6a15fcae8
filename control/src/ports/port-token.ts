import { createHmac, timingSafeEqual } from 'node:crypto'
import { portNumberSchema, sandboxIdSchema } from '@atoll/protocol'
import { z } from 'zod'

const prefix = 'atpt_'
const tokenLengthMax = 1_024

const claimsSchema = z.object({
  sandbox: sandboxIdSchema,
  port: portNumberSchema,
  expiresAtMs: z.number(),
  /** The key that made it: its revocation ends the token too. */
  key: z.string(),
})
export type PortTokenClaims = z.infer<typeof claimsSchema>

/**
 * A token of one port: claims in the clear, and a signature over them. The signing key is that of the sandbox tokens;
 * the prefix under the signature keeps the two kinds apart, so that neither can be passed off as the other.
 */
export const signPortToken = (key: Uint8Array, claims: PortTokenClaims): string => {
  const text = Buffer.from(JSON.stringify(claims)).toString('base64url')
  return `${prefix}${text}.${signature(key, text).toString('base64url')}`
}

export const isPortToken = (text: string): boolean => text.startsWith(prefix)

/** The claims of a token that we signed, expired or not; undefined for any other text. */
export const readPortToken = (key: Uint8Array, token: string): PortTokenClaims | undefined => {
  if (token.length > tokenLengthMax || !isPortToken(token)) return undefined
  const [text, signed, more] = token.slice(prefix.length).split('.')
  if (text === undefined || signed === undefined || more !== undefined) return undefined
  const given = Buffer.from(signed, 'base64url')
  const right = signature(key, text)
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
  return claimsSchema.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString())).data
}

const signature = (key: Uint8Array, text: string): Buffer =>
  createHmac('sha256', key).update(prefix).update(text).digest()
