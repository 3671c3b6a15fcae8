import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

const readBytes = 1024 * 1024

/** sha256 of a file's bytes, as hex. */
export const hashFile = async (path: string, signal: AbortSignal): Promise<string> => {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: readBytes, signal })) hash.update(chunk)
  return hash.digest('hex')
}

/** sha256 of a text, as hex. */
export const hashText = (text: string): string => createHash('sha256').update(text).digest('hex')

/** JSON with sorted keys: the same value gives the same text. */
export const canonicalJson = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
