import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'

const nonceBytes = 12
const tagBytes = 16

/**
 * Kept answers may hold a secret that was shown once (a new key, a token). They are encrypted with a key
 * made of the caller's own secret, of which we keep only a hash: who reads our disk cannot open them, and
 * a repeated call, which brings that secret along, can.
 */
export const sealer = (callerSecret: string, idempotencyKey: string) => {
  const key = Buffer.from(hkdfSync('sha256', callerSecret, idempotencyKey, 'atoll answer', 32))
  return {
    seal(text: string, nonce: Uint8Array): string {
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString('base64')
    },
    /** Undefined when another secret sealed it. */
    open(sealed: string): string | undefined {
      const bytes = Buffer.from(sealed, 'base64')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes))
      decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes))
      try {
        return Buffer.concat([
          decipher.update(bytes.subarray(nonceBytes + tagBytes)),
          decipher.final(),
        ]).toString()
      } catch {
        return undefined
      }
    },
  }
}

export const sealNonceBytes = nonceBytes
