import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { hashFile } from './hash-file.ts'
import { type ImageRecord, imageRecordSchema } from './image-record.ts'
import { type ImageStore, readIfThere } from './image-store.ts'
import { identityOf, isVerified, rememberVerified } from './verified.ts'

/** An image that may be booted. */
export interface OpenedImage {
  readonly record: ImageRecord
  /** Absolute path of the EROFS file, mode 0444. */
  readonly path: string
}

/**
 * The image of a digest, its bytes checked against its record. Hashing takes about a second per GB, so an
 * unchanged file (inode, size, times of birth and change) is hashed once.
 */
export const openImage = async (
  store: ImageStore,
  digest: string,
  signal: AbortSignal,
): Promise<OpenedImage> => {
  const record = await findRecord(store, digest)
  const path = record === undefined ? '' : rootfsPath(store, record.rootfs.digest)
  const identity = record === undefined ? undefined : await identityOf(path)
  if (record === undefined || identity === undefined) {
    throw new AtollError(
      'not_found',
      `cannot open image ${digest}: this node does not have it; import or build it`,
    )
  }
  const { rootfs } = record
  if (await isVerified(store, rootfs, identity)) return { record, path }
  const sha256 =
    identity.split(':')[1] === String(rootfs.sizeBytes) ? await hashFile(path, signal) : 'another size'
  if (sha256 !== rootfs.sha256) {
    throw new AtollError(
      'hash_mismatch',
      `cannot open image ${digest}: ${path} is not the file that was made; delete the image and make it again`,
    )
  }
  await rememberVerified(store, rootfs, identity)
  return { record, path }
}

/** Where the EROFS file of a root filesystem is. */
export const rootfsPath = (store: ImageStore, digest: string): string =>
  join(store.templatesDirectory, `${digest}.erofs`)

/** The record of a digest, unverified; undefined when there is none. */
export const findRecord = async (store: ImageStore, digest: string): Promise<ImageRecord | undefined> => {
  if (!/^[a-f0-9]{64}$/.test(digest)) {
    throw new AtollError(
      'invalid_request',
      `${JSON.stringify(digest)} is no image digest: it has 64 hex characters`,
    )
  }
  const text = await readIfThere(join(store.templatesDirectory, `${digest}.json`))
  if (text === undefined) return undefined
  const parsed = imageRecordSchema.safeParse(JSON.parse(text))
  if (!parsed.success || parsed.data.digest !== digest) {
    throw new AtollError(
      'image_invalid',
      `cannot read the record of image ${digest}; delete the image and make it again`,
    )
  }
  return parsed.data
}
