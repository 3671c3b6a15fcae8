/** For tests: OCI layouts written by hand, so that every field can be wrong. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'

export interface LayerPlan {
  readonly tarPath: string
  readonly compression?: 'gzip' | 'zstd'
  readonly diffId?: string
}

export interface LayoutPlan {
  readonly layers: readonly LayerPlan[]
  readonly config?: Record<string, unknown>
  readonly architecture?: string
  readonly index?: Record<string, unknown>
}

export const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Writes the layout; answers with the digests of its layers' blobs. */
export const writeLayout = (path: string, plan: LayoutPlan): string[] => {
  mkdirSync(join(path, 'blobs/sha256'), { recursive: true })
  const put = (mediaType: string, bytes: Buffer) => {
    const digest = sha256(bytes)
    writeFileSync(join(path, 'blobs/sha256', digest.slice(7)), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const json = (mediaType: string, value: unknown) => put(mediaType, Buffer.from(JSON.stringify(value)))
  const diffIds: string[] = []
  const layers = plan.layers.map((layer) => {
    const tar = readFileSync(layer.tarPath)
    diffIds.push(layer.diffId ?? sha256(tar))
    const type = 'application/vnd.oci.image.layer.v1.tar'
    if (layer.compression === 'gzip') return put(`${type}+gzip`, gzipSync(tar))
    if (layer.compression === 'zstd') return put(`${type}+zstd`, zstdCompressSync(tar))
    return put(type, tar)
  })
  const platform = { os: 'linux', architecture: plan.architecture ?? 'amd64' }
  const config = json('application/vnd.oci.image.config.v1+json', {
    ...platform,
    config: plan.config ?? {},
    rootfs: { type: 'layers', diff_ids: diffIds },
  })
  const manifestType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = json(manifestType, { schemaVersion: 2, mediaType: manifestType, config, layers })
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' }
  const index = plan.index ?? { schemaVersion: 2, manifests: [{ ...manifest, platform, annotations }] }
  writeFileSync(join(path, 'index.json'), JSON.stringify(index))
  writeFileSync(join(path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  return layers.map((layer) => layer.digest)
}

/** skopeo, which is nobody of ours. */
export const skopeo = (...args: string[]): string =>
  execFileSync('skopeo', ['--insecure-policy', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
