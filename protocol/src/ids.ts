import { z } from 'zod'

const branded = <Brand extends string>(prefix: string, brand: Brand) =>
  z
    .string()
    .regex(new RegExp(`^${prefix}_[a-z2-7]{20}$`), `must be ${prefix}_ and 20 characters of a-z and 2-7`)
    .brand(brand)

/** `sbx_` and 20 base32 characters: fixed length, since runsc matches ids by prefix. */
export const sandboxIdSchema = branded('sbx', 'SandboxId')
export type SandboxId = z.infer<typeof sandboxIdSchema>

/** `tpl_` and 20 base32 characters. */
export const templateIdSchema = branded('tpl', 'TemplateId')
export type TemplateId = z.infer<typeof templateIdSchema>

/** `snp_` and 20 base32 characters. */
export const snapshotIdSchema = branded('snp', 'SnapshotId')
export type SnapshotId = z.infer<typeof snapshotIdSchema>

/** `bld_` and 20 base32 characters. */
export const buildIdSchema = branded('bld', 'BuildId')
export type BuildId = z.infer<typeof buildIdSchema>

/** `prj_` and 20 base32 characters. */
export const projectIdSchema = branded('prj', 'ProjectId')
export type ProjectId = z.infer<typeof projectIdSchema>

/** `key_` and 20 base32 characters: names a key, is not the key. */
export const keyIdSchema = branded('key', 'KeyId')
export type KeyId = z.infer<typeof keyIdSchema>

/** Chosen by the client: 1–64 of letters, digits, `_` and `-`. */
export const processIdSchema = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, _ or -')
  .brand('ProcessId')
export type ProcessId = z.infer<typeof processIdSchema>

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
/** 100 bits: 20 characters of 5. */
const idLength = 20

/** A new id from random bytes (at least 20 of them). */
export const makeId = (prefix: 'sbx' | 'tpl' | 'snp' | 'bld' | 'prj' | 'key', random: Uint8Array): string => {
  if (random.length < idLength)
    throw new RangeError(`cannot make an id from ${random.length} random bytes: ${idLength} are needed`)
  let text = `${prefix}_`
  for (const byte of random.subarray(0, idLength)) text += alphabet[byte & 31]
  return text
}
