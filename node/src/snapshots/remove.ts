import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Records } from '../records/open.ts'
import { snapshotFolder, type SnapshotStore, temporaryPrefix } from './store.ts'

/** What removes a snapshot: the rows decide, the files follow. */
interface Deps {
  readonly records: Records
  readonly snapshots: SnapshotStore
}

/**
 * Removes a row, and the files when no other row has their digest. Answers with the bytes freed: those that
 * someone still reads go when they have been read. Repeatable.
 */
export const forgetSnapshot = async ({ records, snapshots }: Deps, id: string): Promise<number> => {
  const row = records.snapshots.get(id)
  if (row === undefined) return 0
  // The row first: from then on the snapshot is not there, whatever happens between.
  const isLast = records.atomic(() => {
    records.snapshots.remove(id)
    return records.snapshots.references(row.digest) === 0
  })
  if (!isLast) return 0
  await removeSnapshotFiles(snapshots, row.digest)
  return row.sizeBytes
}

/** Removes the files of a digest that no row names; while someone reads them, right after. */
export const removeSnapshotFiles = async (store: SnapshotStore, digest: string): Promise<void> => {
  if (store.holds.has(digest)) return void store.doomed.add(digest)
  for (const name of store.verified.keys()) if (name.startsWith(`${digest}/`)) store.verified.delete(name)
  await rm(snapshotFolder(store, digest), { recursive: true, force: true })
}

/** Removes the files of a digest unless a row has it: for a saver whose row could not be written. */
export const removeUnnamed = async ({ records, snapshots }: Deps, digest: string): Promise<void> => {
  if (records.snapshots.references(digest) === 0) await removeSnapshotFiles(snapshots, digest)
}

/** At the start of the daemon: folders that are not whole, or that no row names, go; anything else is left alone. */
export const sweepSnapshots = async ({ records, snapshots }: Deps): Promise<number> => {
  const named = records.snapshots.digests()
  let removed = 0
  for (const name of await readdir(snapshots.folder)) {
    const isOurs = name.startsWith(temporaryPrefix) || /^[a-f0-9]{64}$/.test(name)
    if (!isOurs || named.has(name)) continue
    await rm(join(snapshots.folder, name), { recursive: true, force: true })
    removed++
  }
  return removed
}
