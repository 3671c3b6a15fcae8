import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { holdBlob } from '../blobs.ts'
import type { ImageRecord } from '../image-record.ts'
import { type ImageStore, makeStaging } from '../image-store.ts'
import { unpackArchive } from '../jailed-unpacker.ts'
import { type ImageLayer, makeImage } from '../make-image.ts'
import type { OnImageProgress } from '../progress.ts'
import { imageConfigOf } from './image-config.ts'
import { openLayout } from './open-layout.ts'
import { resolveImage } from './resolve-image.ts'
import type { OciSource } from './source.ts'

/** Fetches, checks and makes the image for linux/amd64 of any source. */
export const importOci = async (
  store: ImageStore,
  source: OciSource,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  const { manifest, config } = await resolveImage(source, signal)
  const defaults = imageConfigOf(config, source.origin)
  await using held = new AsyncDisposableStack()
  const layers: ImageLayer[] = []
  for (const [index, descriptor] of manifest.layers.entries()) {
    const diffId = config.rootfs.diff_ids[index]
    const { digest: subject, size: totalBytes } = descriptor
    const report = (doneBytes: number) => onProgress({ stage: 'download', subject, doneBytes, totalBytes })
    const name = { sha256: subject.slice('sha256:'.length), sizeBytes: totalBytes }
    const open = (inner: AbortSignal) => source.blob(descriptor, inner)
    const blob = held.use(await holdBlob(store, name, open, report, signal))
    layers.push({ path: blob.path, flavour: 'layer', ...(diffId === undefined ? {} : { diffId }) })
  }
  return await makeImage(store, { layers, config: defaults, origin: source.origin }, onProgress, signal)
}

/** An image of an OCI layout: a folder with `oci-layout`, `index.json` and `blobs/`. */
export const importOciLayout = async (
  store: ImageStore,
  layoutPath: string,
  reference: string | undefined,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> =>
  importOci(store, await openLayout(layoutPath, layoutPath, reference), onProgress, signal)

/** An image of an OCI archive: a tar of a layout, unpacked in the jail, links and devices refused. */
export const importOciArchive = async (
  store: ImageStore,
  archivePath: string,
  origin: string,
  reference: string | undefined,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  await using staging = await makeStaging(store)
  const layout = join(staging.path, 'layout')
  await mkdir(layout, { mode: 0o700 })
  onProgress({ stage: 'unpack', subject: origin, doneBytes: 0 })
  await unpackArchive(store, archivePath, layout, 'plain', signal)
  return await importOci(store, await openLayout(layout, origin, reference), onProgress, signal)
}
