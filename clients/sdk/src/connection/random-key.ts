/** A fresh key for a call or a process: 128 random bits as 32 hex digits. */
export const newKey = (): string => {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16))
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}
