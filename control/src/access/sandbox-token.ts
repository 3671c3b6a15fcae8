import { createHmac, timingSafeEqual } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, sandboxIdSchema } from '@atoll/protocol'
import { z } from 'zod'

const prefix = 'atst_'
const keyBytes = 32
const tokenLengthMax = 1_024

export const tokenAccessSchema = z.enum(['read', 'use'])
export type TokenAccess = z.infer<typeof tokenAccessSchema>

const claimsSchema = z.object({
  sandbox: sandboxIdSchema,
  access: tokenAccessSchema,
  expiresAtMs: z.number(),
  /** The key that made it: its revocation ends the token too. */
  key: z.string(),
})
export type TokenClaims = z.infer<typeof claimsSchema>

/** The key that signs tokens: made once, readable by us alone. */
export const openTokenKey = async (
  dataFolder: string,
  random: (bytes: number) => Uint8Array,
): Promise<Uint8Array> => {
  const folder = join(dataFolder, 'keys')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'sandbox-token.key')
  const before = await readFile(path).catch(absent)
  if (before !== undefined) return checked(path, before)
  await using file = await open(path, 'wx', 0o600)
  const key = random(keyBytes)
  await file.writeFile(key)
  await file.sync()
  return key
}

const absent = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw error
}

const checked = (path: string, key: Uint8Array): Uint8Array => {
  if (key.length === keyBytes) return key
  throw new AtollError(
    'internal',
    `cannot use ${path}: it has ${key.length} bytes and not ${keyBytes}; delete it, and tokens that are out become void`,
  )
}

/** A token of one sandbox: claims in the clear, and a signature over them. */
export const signToken = (key: Uint8Array, claims: TokenClaims): string => {
  const text = Buffer.from(JSON.stringify(claims)).toString('base64url')
  return `${prefix}${text}.${signature(key, text).toString('base64url')}`
}

export const isSandboxToken = (text: string): boolean => text.startsWith(prefix)

/** The claims of a token that we signed and that is in force; undefined for any other. */
export const readToken = (key: Uint8Array, token: string, nowMs: number): TokenClaims | undefined => {
  if (token.length > tokenLengthMax) return undefined
  const [text, signed] = token.slice(prefix.length).split('.')
  if (text === undefined || signed === undefined) return undefined
  const given = Buffer.from(signed, 'base64url')
  const right = signature(key, text)
  if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined
  const claims = claimsSchema.safeParse(JSON.parse(Buffer.from(text, 'base64url').toString()))
  return claims.success && claims.data.expiresAtMs > nowMs ? claims.data : undefined
}

const signature = (key: Uint8Array, text: string): Buffer =>
  createHmac('sha256', key).update(prefix).update(text).digest()
