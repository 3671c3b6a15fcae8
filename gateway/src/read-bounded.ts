import type { GuestResponse } from '@atoll/protocol'

/** A guest's answer as a whole; undefined, and the stream ended, when it is over the limit. */
export const readBounded = async (
  body: GuestResponse['body'],
  maxBytes: number,
): Promise<Buffer | undefined> => {
  const chunks: Uint8Array[] = []
  let received = 0
  for await (const chunk of body) {
    received += chunk.length
    if (received > maxBytes) {
      body.destroy()
      return undefined
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
