import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdCompress } from 'node:zlib'
import { AtollError } from '@atoll/protocol'

/** Writes a tar compressed by zstd; `diffId` is the hash of the tar before compression. */
export const compressTar = async (
  tar: NodeJS.ReadableStream,
  output: string,
  limitBytes: number,
  signal: AbortSignal,
): Promise<{ readonly diffId: string; readonly archiveBytes: number }> => {
  const hash = createHash('sha256')
  let archiveBytes = 0
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      archiveBytes += chunk.length
      if (archiveBytes <= limitBytes) return done(null, chunk)
      return done(new AtollError('payload_too_large', `cannot keep an archive of over ${limitBytes} bytes`))
    },
  })
  const zstd = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1 } })
  await pipeline(tar, meter, zstd, createWriteStream(output, { mode: 0o600 }), { signal })
  return { diffId: `sha256:${hash.digest('hex')}`, archiveBytes }
}
