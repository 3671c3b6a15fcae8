import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { type ImageStore, removeIfThere } from './image-store.ts'
import { listImages } from './list-images.ts'
import { findRecord, rootfsPath } from './open-image.ts'
import { verifiedPath } from './verified.ts'
import { syncDirectory } from './write-durably.ts'

/** Removes an image; refused while something of `inUse` (digests) still needs it. Answers with what was freed. */
export const deleteImage = async (
  store: ImageStore,
  digest: string,
  inUse: ReadonlySet<string>,
): Promise<{ readonly freedBytes: number }> => {
  if (inUse.has(digest)) {
    throw new AtollError(
      'in_use',
      `cannot delete image ${digest}: a sandbox or a template needs it; delete that first`,
    )
  }
  const record = await findRecord(store, digest)
  if (record === undefined) {
    throw new AtollError('not_found', `cannot delete image ${digest}: this node does not have it`)
  }
  // The record first: from then on the image is not there, whatever happens between.
  await removeIfThere(join(store.templatesDirectory, `${digest}.json`))
  const others = await listImages(store)
  const shared = others.some((other) => other.rootfs.digest === record.rootfs.digest)
  if (!shared) {
    store.verified.delete(record.rootfs.digest)
    await removeIfThere(verifiedPath(store, record.rootfs.digest))
    await removeIfThere(rootfsPath(store, record.rootfs.digest))
  }
  await syncDirectory(store.templatesDirectory)
  return { freedBytes: shared ? 0 : record.rootfs.sizeBytes }
}
