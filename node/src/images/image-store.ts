import { randomBytes } from 'node:crypto'
import { mkdir, readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Rootfs } from './image-record.ts'
import { imageLimits, jailIdBase } from './limits.ts'
import { removeTree } from './remove-tree.ts'
import { startTimeOf } from './start-time.ts'

/** Where images live, and the programs that make them. */
export interface ImageStoreOptions {
  /** The data folder; images are in `templates/`, downloads in `cache/`. */
  readonly dataDirectory: string
  /** `atoll-unpack`, the jailed helper. */
  readonly unpackerPath: string
  /** The static guest agent that goes into every image. */
  readonly agentPath: string
  /** `mkfs.erofs` of erofs-utils. */
  readonly mkfsPath?: string
  /** First of 65,536 host ids that the jail uses. */
  readonly idBase?: number
  readonly now?: () => number
  readonly blobCacheBytes?: number
}

/** The open store. Plain data and two small caches; one per daemon. */
export interface ImageStore {
  readonly templatesDirectory: string
  readonly cacheDirectory: string
  readonly stagingDirectory: string
  readonly unpackerPath: string
  readonly agentPath: string
  readonly mkfsPath: string
  readonly idBase: number
  readonly now: () => number
  /** Root filesystems whose bytes were hashed: hash and file identity by digest. */
  readonly verified: Map<string, string>
  /** Root filesystems that are being made: the same one is made once. */
  readonly making: Map<string, Promise<Rootfs>>
  /** Blobs that someone reads now, with how many do: the cache keeps them. */
  readonly heldBlobs: Map<string, number>
  readonly blobCacheBytes: number
}

/** Opens the store: makes its folders and removes what dead processes left half-made. */
export const openImageStore = async (options: ImageStoreOptions): Promise<ImageStore> => {
  const templatesDirectory = join(options.dataDirectory, 'templates')
  const store: ImageStore = {
    templatesDirectory,
    cacheDirectory: join(options.dataDirectory, 'cache'),
    stagingDirectory: join(templatesDirectory, '.staging'),
    unpackerPath: options.unpackerPath,
    agentPath: options.agentPath,
    mkfsPath: options.mkfsPath ?? '/usr/bin/mkfs.erofs',
    idBase: options.idBase ?? jailIdBase,
    now: options.now ?? Date.now,
    verified: new Map(),
    making: new Map(),
    heldBlobs: new Map(),
    blobCacheBytes: options.blobCacheBytes ?? imageLimits.blobCacheBytes,
  }
  await mkdir(templatesDirectory, { recursive: true, mode: 0o755 })
  // Trees in there hold setuid files of other ids: nobody else may look in.
  await mkdir(store.stagingDirectory, { recursive: true, mode: 0o700 })
  await mkdir(join(store.cacheDirectory, 'blobs'), { recursive: true, mode: 0o700 })
  await mkdir(join(store.cacheDirectory, 'layers'), { recursive: true, mode: 0o700 })
  await sweepStaging(store)
  return store
}

/** A folder of our own for one import; it goes with everything in it. */
export const makeStaging = async (
  store: ImageStore,
): Promise<{ readonly path: string } & AsyncDisposable> => {
  const own = `${process.pid}-${await startTimeOf(process.pid)}`
  const path = join(store.stagingDirectory, `${own}-${randomBytes(8).toString('hex')}`)
  await mkdir(path, { mode: 0o700 })
  return { path, [Symbol.asyncDispose]: () => removeTree(path) }
}

const sweepStaging = async (store: ImageStore): Promise<void> => {
  for (const name of await readdir(store.stagingDirectory)) {
    const [pid, startTime] = name.split('-')
    // A pid alone identifies nothing: it is used again.
    const alive = (await startTimeOf(Number(pid))) === startTime
    if (!alive) await removeTree(join(store.stagingDirectory, name))
  }
}

/** A file of the store that may not be there. */
export const readIfThere = async (path: string): Promise<string | undefined> => {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Removes a file that may not be there; true when it was. */
export const removeIfThere = async (path: string): Promise<boolean> => {
  try {
    await rm(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT'
