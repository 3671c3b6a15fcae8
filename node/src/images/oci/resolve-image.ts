import { createHash } from 'node:crypto'
import { AtollError } from '@atoll/protocol'
import type { z } from 'zod'
import { imageLimits } from '../limits.ts'
import {
  type Descriptor,
  type Manifest,
  type OciConfig,
  configSchema,
  indexSchema,
  manifestSchema,
  mediaTypes,
} from './schemas.ts'
import type { Document, OciSource } from './source.ts'

/** One image of the platform, with everything about it checked but the layers' bytes. */
export interface ResolvedImage {
  readonly manifest: Manifest
  readonly config: OciConfig
}

/** Indexes inside indexes. */
const nesting = 4
const platform = { os: 'linux', architecture: 'amd64' } as const

/** From the top document to the manifest and config for linux/amd64. */
export const resolveImage = async (source: OciSource, signal: AbortSignal): Promise<ResolvedImage> => {
  let document = await source.top(signal)
  for (let depth = 0; depth < nesting; depth += 1) {
    const value = readJson(document.bytes, source.origin)
    if (isManifest(value, document.mediaType)) return withConfig(source, value, signal)
    const index = parse(indexSchema, value, source.origin, 'index')
    document = await checkedDocument(source, choose(index.manifests, source.origin), signal)
  }
  throw invalid(source.origin, `its indexes are nested over ${nesting} deep`)
}

const withConfig = async (source: OciSource, value: unknown, signal: AbortSignal): Promise<ResolvedImage> => {
  const manifest = parse(manifestSchema, value, source.origin, 'manifest')
  if (!includes(mediaTypes.configs, manifest.config.mediaType)) {
    throw invalid(source.origin, `it is no container image: its config is ${manifest.config.mediaType}`)
  }
  for (const layer of manifest.layers) {
    if (!includes(mediaTypes.layers, layer.mediaType)) {
      throw invalid(
        source.origin,
        `layer ${layer.digest} has media type ${layer.mediaType}; tar, gzip and zstd are read`,
      )
    }
    if (layer.size > imageLimits.blobBytes) {
      throw new AtollError(
        'payload_too_large',
        `cannot import ${source.origin}: layer ${layer.digest} has ${layer.size} bytes, over ${imageLimits.blobBytes}`,
      )
    }
  }
  const bytes = await readChecked(source, manifest.config, signal)
  const config = parse(configSchema, readJson(bytes, source.origin), source.origin, 'config')
  if (config.os !== platform.os || config.architecture !== platform.architecture) {
    throw invalid(source.origin, `it is for ${config.os}/${config.architecture}; this node runs linux/amd64`)
  }
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw invalid(
      source.origin,
      `its config names ${config.rootfs.diff_ids.length} layers of ${manifest.layers.length}`,
    )
  }
  return { manifest, config }
}

/** The only entry, or the one for the platform. Attestations and the like have platform unknown. */
const choose = (manifests: readonly Descriptor[], origin: string): Descriptor => {
  const fitting = manifests.filter(
    (entry) => entry.platform?.os === platform.os && entry.platform.architecture === platform.architecture,
  )
  const without = manifests.filter((entry) => entry.platform === undefined)
  const candidates = fitting.length > 0 ? fitting.slice(0, 1) : without
  const [only, ...others] = candidates
  if (only !== undefined && others.length === 0) return only
  const found = manifests
    .map((entry) => `${entry.platform?.os ?? '?'}/${entry.platform?.architecture ?? '?'}`)
    .join(', ')
  throw invalid(
    origin,
    only === undefined
      ? `it has no image for linux/amd64 (it has ${found || 'none'})`
      : `it holds ${candidates.length} images; name one by tag or digest`,
  )
}

const isManifest = (value: unknown, mediaType: string): boolean =>
  includes(mediaTypes.manifests, mediaType) ||
  (!includes(mediaTypes.indexes, mediaType) &&
    typeof value === 'object' &&
    value !== null &&
    'config' in value)

const checkedDocument = async (
  source: OciSource,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<Document> => {
  if (descriptor.size > imageLimits.manifestBytes) throw invalid(source.origin, 'a manifest is over 4 MiB')
  const document = await source.document(descriptor, signal)
  check(document.bytes, descriptor, source.origin)
  return { bytes: document.bytes, mediaType: descriptor.mediaType }
}

const readChecked = async (
  source: OciSource,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<Buffer> => {
  if (descriptor.size > imageLimits.manifestBytes) throw invalid(source.origin, 'its config is over 4 MiB')
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of await source.blob(descriptor, signal)) {
    bytes += (chunk as Buffer).length
    if (bytes > descriptor.size) break
    chunks.push(chunk as Buffer)
  }
  const all = Buffer.concat(chunks)
  check(bytes > descriptor.size ? Buffer.alloc(0) : all, descriptor, source.origin)
  return all
}

const check = (bytes: Buffer, descriptor: Descriptor, origin: string): void => {
  const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  if (found === descriptor.digest && bytes.length === descriptor.size) return
  throw new AtollError(
    'hash_mismatch',
    `cannot import ${origin}: ${descriptor.digest} of ${descriptor.size} bytes came as ${found} of ${bytes.length}`,
  )
}

const parse = <Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  origin: string,
  what: string,
): z.infer<Schema> => {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw invalid(origin, `its ${what} is not readable: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`)
}

const readJson = (bytes: Buffer, origin: string): unknown => {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    // The parser's message would repeat the bytes.
    throw invalid(origin, 'a document of it is no JSON')
  }
}

const includes = (list: readonly string[], value: string): boolean => list.includes(value)

const invalid = (origin: string, why: string): AtollError =>
  new AtollError('image_invalid', `cannot import ${origin}: ${why}`)
