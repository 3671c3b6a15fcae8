import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { type ImageStore, removeIfThere } from './image-store.ts'
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
  if (!/^[a-f0-9]{64}$/.test(digest)) {
    throw new AtollError(
      'invalid_request',
      `${JSON.stringify(digest)} is no image digest: it has 64 hex characters`,
    )
  }
  const erofs = join(store.templatesDirectory, `${digest}.erofs`)
  const sizeBytes = await stat(erofs).then(
    (found) => found.size,
    () => 0,
  )
  // The record first: from then on the image is not there, whatever happens between.
  const hadRecord = await removeIfThere(join(store.templatesDirectory, `${digest}.json`))
  const hadFile = await removeIfThere(erofs)
  store.verified.delete(digest)
  if (!hadRecord && !hadFile) {
    throw new AtollError('not_found', `cannot delete image ${digest}: this node does not have it`)
  }
  await syncDirectory(store.templatesDirectory)
  return { freedBytes: sizeBytes }
}
