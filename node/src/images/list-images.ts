import { readdir, stat } from 'node:fs/promises'
import type { ImageRecord, Rootfs } from './image-record.ts'
import type { ImageStore } from './image-store.ts'
import { findRecord, rootfsPath } from './open-image.ts'

/** All images of this node, oldest first. */
export const listImages = async (store: ImageStore): Promise<ImageRecord[]> => {
  const records: ImageRecord[] = []
  for (const name of await readdir(store.templatesDirectory)) {
    const digest = /^([a-f0-9]{64})\.json$/.exec(name)?.[1]
    const record = digest === undefined ? undefined : await findRecord(store, digest)
    if (record !== undefined) records.push(record)
  }
  return records.toSorted((a, b) => a.createdAtMs - b.createdAtMs)
}

/** A root filesystem that some image has, its file still there and of its size. */
export const findRootfs = async (store: ImageStore, digest: string): Promise<Rootfs | undefined> => {
  const rootfs = (await listImages(store)).find((image) => image.rootfs.digest === digest)?.rootfs
  if (rootfs === undefined) return undefined
  const found = await stat(rootfsPath(store, digest)).catch(() => undefined)
  return found?.size === rootfs.sizeBytes ? rootfs : undefined
}
