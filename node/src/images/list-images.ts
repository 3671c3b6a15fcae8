import { readdir } from 'node:fs/promises'
import type { ImageRecord } from './image-record.ts'
import type { ImageStore } from './image-store.ts'
import { findRecord } from './open-image.ts'

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
