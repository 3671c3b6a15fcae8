import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { CpuFingerprint } from './cpu-fingerprint.ts'
import { snapshotLimits } from './limits.ts'

/** `snapshots/`: a folder for each digest with a manifest and the files that it names. */
export interface SnapshotStore {
  readonly folder: string
  readonly cpu: CpuFingerprint
  /** Files whose bytes this process has hashed: their identity by digest and name. */
  readonly verified: Map<string, string>
  /** How many read a digest's files now. */
  readonly holds: Map<string, number>
  /** Digests that go when their last reader has. */
  readonly doomed: Set<string>
}

/** Names of folders that are not whole yet begin with it. */
export const temporaryPrefix = '.new-'

/** Opens the store of a data folder and makes its folder. */
export const openSnapshotStore = async (dataFolder: string, cpu: CpuFingerprint): Promise<SnapshotStore> => {
  const folder = join(dataFolder, 'snapshots')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  return { folder, cpu, verified: new Map(), holds: new Map(), doomed: new Set() }
}

/** Where the files of a digest are. */
export const snapshotFolder = (store: SnapshotStore, digest: string): string => join(store.folder, digest)

/** Remembers that a file's bytes were those of its hash while it had this identity. */
export const remember = (store: SnapshotStore, digest: string, name: string, identity: string): void => {
  const oldest = store.verified.keys().next()
  if (store.verified.size >= snapshotLimits.remembered && oldest.done !== true)
    store.verified.delete(oldest.value)
  store.verified.set(`${digest}/${name}`, identity)
}

/** Changes with every write, replacement and change of rights that goes through the kernel. */
export const identityOf = (found: {
  readonly ino: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
}): string => [found.ino, found.size, found.mtimeNs, found.ctimeNs].join(':')
