import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { snapshotLimits } from './limits.ts'

/** SHA-256 of an open file's bytes, in pieces, so that the daemon goes on answering meanwhile. */
export const hashOpenFile = async (file: FileHandle, signal: AbortSignal): Promise<string> => {
  const hash = createHash('sha256')
  const chunk = Buffer.allocUnsafe(snapshotLimits.hashChunkBytes)
  for (let position = 0; ; ) {
    signal.throwIfAborted()
    const { bytesRead } = await file.read(chunk, 0, chunk.length, position)
    if (bytesRead === 0) return hash.digest('hex')
    hash.update(chunk.subarray(0, bytesRead))
    position += bytesRead
  }
}
