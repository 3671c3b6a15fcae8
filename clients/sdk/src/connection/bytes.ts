/** What a body can be given as. */
export type BodySource =
  | string
  | Uint8Array
  | ArrayBuffer
  | Blob
  | AsyncIterable<Uint8Array>
  | ReadableStream<Uint8Array>

/** Bytes where all of them are at hand (such a body can be retried), else a stream. */
export const bodyOf = async (
  source: BodySource,
): Promise<Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>> => {
  if (typeof source === 'string') return new TextEncoder().encode(source)
  if (source instanceof Uint8Array) return ownBytes(source)
  if (source instanceof ArrayBuffer) return new Uint8Array(source)
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer())
  return source instanceof ReadableStream ? source : streamOf(source)
}

/** A view that stands on an ArrayBuffer, which is what `fetch` and `crypto.subtle` take. */
export const ownBytes = (bytes: Uint8Array): Uint8Array<ArrayBuffer> =>
  bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes)

/** A pulled ReadableStream: nothing is read ahead of what the network takes. */
const streamOf = (source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> => {
  const iterator = source[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await iterator.next()
      if (done === true) controller.close()
      else controller.enqueue(typeof value === 'string' ? new TextEncoder().encode(value) : value)
    },
    cancel: async () => {
      await iterator.return?.()
    },
  })
}

export const fromBase64 = (text: string): Uint8Array<ArrayBuffer> => {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at)
  return bytes
}

/** Small enough that spreading it into arguments is safe on every engine. */
const base64StepBytes = 8_192

export const toBase64 = (bytes: Uint8Array): string => {
  let binary = ''
  for (let at = 0; at < bytes.length; at += base64StepBytes)
    binary += String.fromCharCode(...bytes.subarray(at, at + base64StepBytes))
  return btoa(binary)
}

export const concat = (chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => {
  let length = 0
  for (const chunk of chunks) length += chunk.length
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** Hex SHA-256, or undefined where the platform has no `crypto.subtle` (an insecure browser context). */
export const sha256Of = async (bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> => {
  const { subtle } = globalThis.crypto as { subtle?: SubtleCrypto }
  if (subtle === undefined) return undefined
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes))
  let text = ''
  for (const byte of digest) text += byte.toString(16).padStart(2, '0')
  return text
}
