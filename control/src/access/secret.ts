import { createHash } from 'node:crypto'

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** Lower-case base32 without padding. */
export const base32 = (bytes: Uint8Array): string => {
  let text = ''
  let held = 0
  let bits = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(held >>> bits) & 31]
    }
    held &= (1 << bits) - 1
  }
  return bits > 0 ? text + alphabet[(held << (5 - bits)) & 31] : text
}

/** `atoll_<20 of the key's id>_<52 of the secret>`. */
export const keyText = (id: string, secret: Uint8Array): string => `atoll_${id.slice(4)}_${base32(secret)}`

/** The id in a key's text, or undefined when it has not that form. */
export const keyIdOf = (text: string): string | undefined => {
  const match = /^atoll_([a-z2-7]{20})_[a-z2-7]{52}$/.exec(text)
  return match?.[1] === undefined ? undefined : `key_${match[1]}`
}

/**
 * What is kept of a key. A plain SHA-256 is right here: the secret is 256 random bits, so there is nothing
 * to guess that a slow hash would protect, and a slow hash would stand on the path of every request.
 */
export const hashKey = (text: string): Buffer => createHash('sha256').update(text).digest()
