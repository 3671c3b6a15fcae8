import { Readable } from 'node:stream'
import { AtollError, type BuildEvent, type NodeBuild, type NodeImage } from '@atoll/protocol'
import type { Images } from '../machines/ports.ts'
import { type HeldBlob, holdBlob, holdUploaded } from './blobs.ts'
import { buildTemplate } from './build/build-template.ts'
import type { OpenBuildSandbox } from './build-sandbox.ts'
import { deleteImage } from './delete-image.ts'
import { ensureBase } from './ensure-base.ts'
import type { ImageRecord } from './image-record.ts'
import type { ImageStore } from './image-store.ts'
import { importTar } from './import-tar.ts'
import { listImages } from './list-images.ts'
import { importOciArchive } from './oci/import-oci.ts'
import { openImage } from './open-image.ts'
import type { OnImageProgress } from './progress.ts'
import { pullImage } from './registry/pull-image.ts'

/** The store as the machines' port. */
export const nodeImages = (store: ImageStore, openSandbox: OpenBuildSandbox): Images => ({
  open: async (digest, signal) => ({ path: (await openImage(store, digest, signal)).path }),
  list: async () => (await listImages(store)).map(present),
  build: async (build, onEvent, signal) => {
    const parent = await sourceImage(store, build, onEvent, signal)
    await using context = await contextOf(store, build.contextPath, signal)
    const plan = {
      parent,
      steps: build.steps,
      contextPath: context?.path ?? build.contextPath,
      noCache: build.noCache,
      origin: `a build on ${parent.origin}`,
    }
    return present(await buildTemplate({ store, openSandbox }, plan, onEvent, signal))
  },
  delete: async (digest, inUse) => {
    await deleteImage(store, digest, inUse)
  },
  receiveUpload: async (sha256, body, signal) => {
    const open = async () => Readable.from(body, { objectMode: false })
    await using held = await holdBlob(store, { sha256 }, open, () => {}, signal)
    return { sizeBytes: held.sizeBytes }
  },
})

const present = ({ digest, rootfs, config, createdAtMs }: ImageRecord): NodeImage => ({
  digest,
  sizeBytes: rootfs.sizeBytes,
  config,
  createdAtMs,
})

/** A context is an upload by its hash; a path is the node's own. */
const contextOf = async (
  store: ImageStore,
  context: string | null,
  signal: AbortSignal,
): Promise<HeldBlob | null> =>
  context !== null && /^[a-f0-9]{64}$/.test(context) ? holdUploaded(store, context, signal) : null

const sourceImage = async (
  store: ImageStore,
  { source }: NodeBuild,
  onEvent: (event: BuildEvent) => void,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  const onProgress: OnImageProgress = ({ stage, subject, doneBytes, totalBytes, text }) =>
    onEvent({
      type: 'progress',
      atMs: store.now(),
      text: text ?? `${stage} ${subject}`,
      doneBytes,
      ...(totalBytes === undefined ? {} : { totalBytes }),
    })
  switch (source.type) {
    case 'base':
      return ensureBase(store, onProgress, signal)
    case 'image':
      return (await openImage(store, source.digest, signal)).record
    case 'registry': {
      const { reference, username, password = '', plainHttp } = source
      const credentials = username === undefined ? {} : { credentials: { username, password } }
      return pullImage(store, reference, { ...credentials, plainHttp }, onProgress, signal)
    }
    case 'tar': {
      await using upload = await holdUploaded(store, source.upload, signal)
      return await importTar(store, upload.path, `upload ${source.upload}`, onProgress, signal)
    }
    case 'oci': {
      await using upload = await holdUploaded(store, source.upload, signal)
      return await importOciArchive(
        store,
        upload.path,
        `upload ${source.upload}`,
        undefined,
        onProgress,
        signal,
      )
    }
    case 'template':
      throw new AtollError(
        'invalid_request',
        `cannot build from template ${source.name}: a node knows digests; name its image`,
      )
    default:
      return unreachable(source)
  }
}

const unreachable = (source: never): never => {
  throw new TypeError(`no such source: ${JSON.stringify(source)}`)
}
