import { constants, createReadStream } from 'node:fs'
import { type FileHandle, open, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { imageLimits } from '../limits.ts'
import { type Descriptor, digestSchema, indexSchema } from './schemas.ts'
import type { Document, OciSource } from './source.ts'

const referenceAnnotation = 'org.opencontainers.image.ref.name'

/** A layout folder as a source. Where it holds several images, `reference` (a tag) chooses. */
export const openLayout = async (
  path: string,
  origin: string,
  reference: string | undefined,
): Promise<OciSource> => {
  const root = await realpath(path).catch(() => {
    throw new AtollError('not_found', `cannot import ${origin}: it is not there`)
  })
  const read = async (name: string): Promise<Buffer> => {
    await using file = await openInside(root, name, origin)
    if ((await file.stat()).size > imageLimits.manifestBytes) {
      throw new AtollError('payload_too_large', `cannot import ${origin}: ${name} is over 4 MiB`)
    }
    return await file.readFile()
  }
  const blobName = (descriptor: Descriptor) =>
    join('blobs', 'sha256', digestSchema.parse(descriptor.digest).slice('sha256:'.length))
  return {
    origin,
    top: async () => narrow(await read('index.json'), reference, origin),
    document: async (descriptor) => ({
      bytes: await read(blobName(descriptor)),
      mediaType: descriptor.mediaType,
    }),
    blob: async (descriptor): Promise<Readable> => {
      const file = await openInside(root, blobName(descriptor), origin)
      // The descriptor was opened and checked; the stream closes it.
      return createReadStream('', { fd: file, highWaterMark: 1024 * 1024 })
    },
  }
}

/** Never through a symlink: what came in an archive would lead anywhere. */
const openInside = async (root: string, name: string, origin: string): Promise<FileHandle> => {
  const path = join(root, name)
  const missing = () =>
    new AtollError(
      'image_invalid',
      `cannot import ${origin}: ${name} is not in it; write it with skopeo as oci or oci-archive`,
    )
  const real = await realpath(path).catch(() => {
    throw missing()
  })
  if (real !== path) throw missing()
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw missing()
}

/** The index with only what the reference names. */
const narrow = (bytes: Buffer, reference: string | undefined, origin: string): Document => {
  const document = { bytes, mediaType: 'application/vnd.oci.image.index.v1+json' }
  if (reference === undefined) return document
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    return document // Refused by the one who reads it, with the same words as without a reference.
  }
  const index = indexSchema.safeParse(value)
  if (!index.success) return document
  const manifests = index.data.manifests.filter(
    (entry) => entry.annotations?.[referenceAnnotation] === reference,
  )
  if (manifests.length === 0) {
    throw new AtollError('not_found', `cannot import ${origin}: no image in it is named ${reference}`)
  }
  return { ...document, bytes: Buffer.from(JSON.stringify({ ...index.data, manifests })) }
}
