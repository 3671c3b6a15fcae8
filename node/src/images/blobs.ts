import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { readdir, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AtollError } from '@atoll/protocol'
import { compressTar } from './compress-tar.ts'
import { hashFile } from './hash-file.ts'
import { type ImageStore, makeStaging } from './image-store.ts'
import { imageLimits } from './limits.ts'
import { commitFile } from './write-durably.ts'

/** What a blob was announced as. */
export interface BlobName {
  /** Hex. */
  readonly sha256: string
  /** Where it was announced. */
  readonly sizeBytes?: number
}

/** A blob in the cache; it stays there until this is disposed. */
export interface HeldBlob extends AsyncDisposable {
  readonly path: string
  readonly sizeBytes: number
}

/**
 * The blob from the cache, or from the stream that `open` gives. Its bytes are hashed while they are written, and
 * only bytes with the announced hash and size get their name. Also the way in for uploads.
 */
export const holdBlob = async (
  store: ImageStore,
  name: BlobName,
  open: (signal: AbortSignal) => Promise<Readable>,
  onBytes: (doneBytes: number) => void,
  signal: AbortSignal,
): Promise<HeldBlob> => {
  const path = blobPath(store, name.sha256)
  const release = hold(store, name.sha256)
  const held = (sizeBytes: number): HeldBlob => ({
    path,
    sizeBytes,
    [Symbol.asyncDispose]: async () => release(),
  })
  try {
    const there = await stat(path).catch(() => undefined)
    if (there !== undefined) {
      if (name.sizeBytes !== undefined && there.size !== name.sizeBytes)
        throw mismatch(name, `${there.size} bytes`)
      const now = new Date(store.now())
      await utimes(path, now, now)
      return held(there.size)
    }
    const sizeBytes = await fetchBlob(store, name, path, await open(signal), onBytes, signal)
    await pruneBlobs(store)
    return held(sizeBytes)
  } catch (error) {
    release()
    throw error
  }
}

/** A blob that must be in the cache already: an upload. */
export const holdUploaded = (store: ImageStore, sha256: string, signal: AbortSignal): Promise<HeldBlob> =>
  holdBlob(
    store,
    { sha256 },
    () => {
      throw new AtollError(
        'not_found',
        `cannot read upload ${sha256}: it is not there; upload the archive again`,
      )
    },
    () => {},
    signal,
  )

/** Where a blob of the cache is, or would be. */
export const blobPath = (store: ImageStore, sha256: string): string => {
  if (!/^[a-f0-9]{64}$/.test(sha256)) {
    throw new AtollError(
      'invalid_request',
      `${JSON.stringify(sha256)} is no sha256: it has 64 hex characters`,
    )
  }
  return join(store.cacheDirectory, 'blobs', sha256)
}

/** A stream that was kept, compressed. */
export interface KeptStream {
  readonly blob: HeldBlob
  readonly sha256: string
  /** Hash of the stream before compression. */
  readonly diffId: string
}

/** Compresses a tar of our own sandboxes into the cache, under the hash that it turns out to have. */
export const keepStream = async (
  store: ImageStore,
  tar: Readable,
  signal: AbortSignal,
): Promise<KeptStream> => {
  await using staging = await makeStaging(store)
  const temporary = join(staging.path, 'blob')
  const { diffId } = await compressTar(tar, temporary, imageLimits.archiveBytes, signal)
  const { size: sizeBytes } = await stat(temporary)
  const sha256 = await hashFile(temporary, signal)
  const path = blobPath(store, sha256)
  const release = hold(store, sha256)
  try {
    await commitFile(temporary, path, 0o400)
    await pruneBlobs(store)
  } catch (error) {
    release()
    throw error
  }
  return { blob: { path, sizeBytes, [Symbol.asyncDispose]: async () => release() }, sha256, diffId }
}

/** Keeps a blob in the cache until the answer is called. */
const hold = (store: ImageStore, sha256: string): (() => void) => {
  store.heldBlobs.set(sha256, (store.heldBlobs.get(sha256) ?? 0) + 1)
  let open = true
  return () => {
    if (!open) return
    open = false
    const left = (store.heldBlobs.get(sha256) ?? 1) - 1
    if (left > 0) store.heldBlobs.set(sha256, left)
    else store.heldBlobs.delete(sha256)
  }
}

const fetchBlob = async (
  store: ImageStore,
  name: BlobName,
  path: string,
  source: Readable,
  onBytes: (doneBytes: number) => void,
  signal: AbortSignal,
): Promise<number> => {
  await using staging = await makeStaging(store)
  const temporary = join(staging.path, 'blob')
  const hash = createHash('sha256')
  const limitBytes = name.sizeBytes ?? imageLimits.blobBytes
  let bytes = 0
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > limitBytes) return done(tooLarge(name, limitBytes))
      hash.update(chunk)
      onBytes(bytes)
      return done(null, chunk)
    },
  })
  await pipeline(source, meter, createWriteStream(temporary, { mode: 0o600 }), { signal })
  const found = hash.digest('hex')
  if (found !== name.sha256) throw mismatch(name, `sha256:${found}`)
  if (name.sizeBytes !== undefined && bytes !== name.sizeBytes) throw mismatch(name, `${bytes} bytes`)
  await commitFile(temporary, path, 0o400)
  return bytes
}

/** Removes the blobs that were not used for longest until the cache is within its limit. */
const pruneBlobs = async (store: ImageStore): Promise<void> => {
  const folder = join(store.cacheDirectory, 'blobs')
  const found = []
  for (const name of await readdir(folder)) {
    const { size, mtimeMs } = await stat(join(folder, name))
    found.push({ name, size, mtimeMs })
  }
  let total = found.reduce((sum, blob) => sum + blob.size, 0)
  for (const blob of found.toSorted((a, b) => a.mtimeMs - b.mtimeMs)) {
    if (total <= store.blobCacheBytes) return
    if (store.heldBlobs.has(blob.name)) continue
    await rm(join(folder, blob.name))
    total -= blob.size
  }
}

const mismatch = (name: BlobName, found: string): AtollError => {
  const announced = name.sizeBytes === undefined ? '' : ` of ${name.sizeBytes} bytes`
  return new AtollError(
    'hash_mismatch',
    `cannot take blob sha256:${name.sha256}${announced}: what came is ${found}; nothing was kept, send it again`,
  )
}

const tooLarge = (name: BlobName, limitBytes: number): AtollError =>
  new AtollError(
    'payload_too_large',
    `cannot take blob sha256:${name.sha256}: it is over ${limitBytes} bytes`,
  )
