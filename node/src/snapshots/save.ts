import { mkdir, open, rename, rm } from 'node:fs/promises'
import { constants } from 'node:fs'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { guestGeneration } from '../guest/calls.ts'
import { readHostRoom } from '../machines/admit.ts'
import type { Context } from '../machines/context.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { hashOpenFile } from './hash.ts'
import { digestOf, type Manifest, manifestName, manifestSchema, manifestVersion } from './manifest.ts'
import { identityOf, remember, snapshotFolder, temporaryPrefix } from './store.ts'

/** What saving needs of the machines' context. */
export type SaveContext = Pick<
  Context,
  'snapshots' | 'dataFolder' | 'options' | 'records' | 'random' | 'clock'
>

/** A snapshot that is in the store. Its row is the caller's to insert. */
export interface SavedSnapshot {
  readonly digest: string
  readonly sizeBytes: number
  readonly image: MachineImage
}

/** Bytes of entropy in a manifest and in the name of a folder that is not whole yet. */
const nonceBytes = 16
const mib = 1024 ** 2

/**
 * Saves what `write` leaves in the empty folder that it gets. Either the snapshot is whole under its digest, or
 * nothing is left and nothing has changed. With `durable` it survives a power cut once this resolves (invariant 1).
 */
export const saveSnapshot = async (
  context: SaveContext,
  { imageDigest, what }: { readonly imageDigest: string; readonly what: string },
  write: (folder: string) => Promise<MachineImage>,
  { durable }: { readonly durable: boolean },
  signal: AbortSignal,
): Promise<SavedSnapshot> => {
  const { snapshots: store } = context
  const act = `cannot save ${what}`
  await refuseWithoutRoom(context, act)
  const nonce = Buffer.from(context.random(nonceBytes)).toString('hex')
  const temporary = join(store.folder, `${temporaryPrefix}${nonce}`)
  try {
    await mkdir(temporary, { mode: 0o700 })
    const written = await write(temporary)
    const files = await Promise.all(
      written.files.map(({ name, bytes }) => seal(temporary, name, bytes, durable, signal)),
    )
    const { runtime, version: runtimeVersion, kind, diskBytes } = written
    const manifest: Manifest = manifestSchema.parse({
      formatVersion: manifestVersion,
      kind,
      runtime,
      runtimeVersion,
      cpu: store.cpu,
      agentGeneration: guestGeneration,
      imageDigest,
      diskBytes,
      files: files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 })),
      createdAtMs: context.clock.now(),
      nonce,
    })
    const text = JSON.stringify(manifest)
    await writeManifest(temporary, text, durable)
    const sizeBytes = Buffer.byteLength(text) + files.reduce((sum, { bytes }) => sum + bytes, 0)
    refuseOverQuota(context, act, sizeBytes)
    signal.throwIfAborted()
    const digest = digestOf(text)
    await rename(temporary, snapshotFolder(store, digest))
    if (durable) await syncFolder(store.folder)
    for (const { name, identity } of files) remember(store, digest, name, identity)
    return { digest, sizeBytes, image: placed(written, snapshotFolder(store, digest)) }
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw asSaveError(act, store.folder, error)
  }
}

const placed = (image: MachineImage, folder: string): MachineImage => ({
  ...image,
  files: image.files.map((file) => ({ ...file, path: join(folder, file.name) })),
})

/** Makes a written file ours alone, and tells its size and hash as they are on disk now. */
const seal = async (folder: string, name: string, bytes: number, durable: boolean, signal: AbortSignal) => {
  await using file = await open(join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW)
  await file.chmod(0o600)
  const sha256 = await hashOpenFile(file, signal)
  if (durable) await file.sync()
  const found = await file.stat({ bigint: true })
  if (!found.isFile() || Number(found.size) !== bytes)
    throw new AtollError(
      'internal',
      `cannot save ${name}: it has ${found.size} bytes, the runtime wrote ${bytes}; try again`,
    )
  return { name, bytes, sha256, identity: identityOf(found) }
}

const writeManifest = async (folder: string, text: string, durable: boolean): Promise<void> => {
  await using file = await open(join(folder, manifestName), 'wx', 0o600)
  await file.writeFile(text)
  if (!durable) return
  await file.sync()
  await syncFolder(folder)
}

const syncFolder = async (path: string): Promise<void> => {
  await using folder = await open(path, 'r')
  await folder.sync()
}

const refuseWithoutRoom = async (context: SaveContext, act: string): Promise<void> => {
  const { diskFreeBytes } = await readHostRoom(context.dataFolder)
  if (diskFreeBytes < context.options.diskReserveBytes)
    throw new AtollError(
      'host_disk_full',
      `${act}: ${context.dataFolder} has ${Math.floor(diskFreeBytes / mib)} MiB free and keeps ${Math.floor(context.options.diskReserveBytes / mib)}; free some`,
    )
  refuseOverQuota(context, act, 0)
}

const refuseOverQuota = (context: SaveContext, act: string, moreBytes: number): void => {
  const { snapshotQuotaBytes } = context.options
  const wantedBytes = context.records.snapshots.usedBytes() + moreBytes
  if (wantedBytes > snapshotQuotaBytes)
    throw new AtollError(
      'quota_exceeded',
      `${act}: snapshots would take ${Math.ceil(wantedBytes / mib)} MiB, the node's limit is ${Math.floor(snapshotQuotaBytes / mib)}; delete some`,
    )
}

const asSaveError = (act: string, folder: string, error: unknown): unknown => {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return new AtollError('host_disk_full', `${act}: the disk of ${folder} is full; free some`, {
    cause: error,
  })
}
