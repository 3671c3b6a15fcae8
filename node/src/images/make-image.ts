import { constants } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, type ImageConfig } from '@atoll/protocol'
import { canonicalJson, hashFile, hashText } from './hash-file.ts'
import type { ImageRecord, Rootfs, RootfsDescription, UnpackReport } from './image-record.ts'
import { type ImageStore, makeStaging } from './image-store.ts'
import { type ArchiveFlavour, packTree, sealTree, unpackArchive } from './jailed-unpacker.ts'
import { imageFormatVersion } from './limits.ts'
import { findRootfs } from './list-images.ts'
import { findRecord, rootfsPath } from './open-image.ts'
import type { OnImageProgress } from './progress.ts'
import { identityOf, rememberVerified } from './verified.ts'
import { commitFile, writeDurably } from './write-durably.ts'

/** One archive of an image. */
export interface ImageLayer {
  readonly path: string
  /** Hash of its decompressed bytes, checked while unpacking. Where it is not known the unpacker finds it. */
  readonly diffId?: string
  readonly flavour: ArchiveFlavour
}

/** gVisor reads no inlined data of files; quiet, since mkfs.erofs names every file. */
const mkfsOptions = ['-d0', '-E', 'noinline_data'] as const
const erofsMagic = 0xe0f5e1e2
const erofsSuperblockOffset = 1_024

/** What an image is made of. */
export interface ImagePlan {
  /** Lowest first. */
  readonly layers: readonly ImageLayer[]
  readonly config: ImageConfig
  readonly origin: string
}

/** Makes the image, or finds it made already. */
export const makeImage = async (
  store: ImageStore,
  plan: ImagePlan,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  const order: Order = { ...plan, agentSha256: await hashFile(store.agentPath, signal), onProgress, signal }
  return putImage(store, await makeRootfs(store, order), plan.config, plan.origin)
}

/** The image of a root filesystem that is there and these defaults. */
export const putImage = async (
  store: ImageStore,
  rootfs: Rootfs,
  config: ImageConfig,
  origin: string,
): Promise<ImageRecord> => {
  const digest = hashText(canonicalJson({ rootfs: rootfs.digest, config }))
  const there = await findRecord(store, digest)
  if (there !== undefined) return there
  await using staging = await makeStaging(store)
  const record = { digest, rootfs, config, origin: origin.slice(0, 1_024), createdAtMs: store.now() }
  const path = join(store.templatesDirectory, `${digest}.json`)
  await writeDurably(path, join(staging.path, 'record'), `${canonicalJson(record)}\n`, 0o444)
  return record
}

interface Order extends ImagePlan {
  readonly agentSha256: string
  readonly onProgress: OnImageProgress
  readonly signal: AbortSignal
}

const makeRootfs = async (store: ImageStore, order: Order): Promise<Rootfs> => {
  const diffIds = order.layers.flatMap((layer) => layer.diffId ?? [])
  if (diffIds.length < order.layers.length) return build(store, order)
  const { digest } = describe(diffIds, order.agentSha256)
  const there = await findRootfs(store, digest)
  if (there !== undefined) return there
  const running = store.making.get(digest)
  if (running !== undefined) return running
  const making = build(store, order)
  store.making.set(digest, making)
  try {
    return await making
  } finally {
    store.making.delete(digest)
  }
}

const describe = (
  diffIds: readonly string[],
  agentSha256: string,
): { description: RootfsDescription; digest: string } => {
  const description: RootfsDescription = {
    formatVersion: imageFormatVersion,
    layers: [...diffIds],
    agentSha256,
    mkfsOptions: [...mkfsOptions],
  }
  return { description, digest: hashText(canonicalJson(description)) }
}

const build = async (store: ImageStore, order: Order): Promise<Rootfs> => {
  await using staging = await makeStaging(store)
  const tree = join(staging.path, 'tree')
  await mkdir(tree, { mode: 0o755 })
  const reports = await unpackLayers(store, order, tree)
  const { description, digest } = describe(
    reports.map((report) => report.diffId),
    order.agentSha256,
  )
  const there = await findRootfs(store, digest)
  if (there !== undefined) return there
  await sealTree(store, tree, order.signal)
  order.onProgress({ stage: 'pack', subject: digest, doneBytes: 0 })
  const output = join(staging.path, 'output')
  await mkdir(output, { mode: 0o700 })
  await packTree(store, tree, output, [...mkfsOptions, '-U', uuidOf(digest)], order.signal)
  const erofsPath = join(output, 'image.erofs')
  const sizeBytes = await takeOver(erofsPath)
  const sha256 = await hashFile(erofsPath, order.signal)
  await commitFile(erofsPath, rootfsPath(store, digest), 0o444)
  const identity = await identityOf(rootfsPath(store, digest))
  if (identity !== undefined) await rememberVerified(store, { digest, sha256 }, identity)
  order.onProgress({ stage: 'done', subject: digest, doneBytes: sizeBytes, totalBytes: sizeBytes })
  return { digest, description, sha256, sizeBytes, reports }
}

const unpackLayers = async (store: ImageStore, order: Order, tree: string): Promise<UnpackReport[]> => {
  const reports: UnpackReport[] = []
  for (const layer of order.layers) {
    const subject = layer.diffId ?? order.origin
    order.onProgress({ stage: 'unpack', subject, doneBytes: 0 })
    const report = await unpackArchive(store, layer.path, tree, layer.flavour, order.signal)
    if (layer.diffId !== undefined && report.diffId !== layer.diffId) {
      throw new AtollError(
        'hash_mismatch',
        `cannot make the image ${order.origin}: layer ${layer.diffId} unpacks to ${report.diffId}; its config is wrong`,
      )
    }
    reports.push(report)
    order.onProgress({ stage: 'unpack', subject, doneBytes: report.contentBytes })
  }
  return reports
}

/** The jail wrote the file; from here on it is ours. What is no plain file with an EROFS superblock is refused. */
const takeOver = async (path: string): Promise<number> => {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  const found = await file.stat()
  const magic = Buffer.alloc(4)
  await file.read(magic, 0, 4, erofsSuperblockOffset)
  if (!found.isFile() || found.nlink !== 1 || magic.readUInt32LE() !== erofsMagic) {
    throw new AtollError('internal', `cannot make an image: mkfs.erofs left no EROFS file; check its version`)
  }
  await file.chown(0, 0)
  return found.size
}

/** The file system's id follows from the digest, so that the same description gives the same bytes. */
const uuidOf = (digest: string): string =>
  [
    digest.slice(0, 8),
    digest.slice(8, 12),
    digest.slice(12, 16),
    digest.slice(16, 20),
    digest.slice(20, 32),
  ].join('-')
