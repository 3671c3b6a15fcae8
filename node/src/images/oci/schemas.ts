import { z } from 'zod'
import { imageLimits } from '../limits.ts'

/** `sha256:` and 64 hex characters; no other algorithm is taken. */
export const digestSchema = z.string().regex(/^sha256:[a-f0-9]{64}$/, 'must be sha256: and 64 hex characters')

/** Points to a blob: what it is, its hash and its size. */
export const descriptorSchema = z.object({
  mediaType: z.string().max(256),
  digest: digestSchema,
  size: z.int().min(0),
  platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
})
export type Descriptor = z.infer<typeof descriptorSchema>

/** An OCI index or a Docker manifest list. */
export const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.array(descriptorSchema).max(1_024),
})

/** An OCI manifest or a Docker manifest of schema 2. */
export const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).min(1).max(imageLimits.layerCount),
})
export type Manifest = z.infer<typeof manifestSchema>

const orNull = <Schema extends z.ZodType>(schema: Schema) => schema.nullish()

/** An image's config; Docker and OCI agree on what is read here. */
export const configSchema = z.object({
  os: z.string(),
  architecture: z.string(),
  config: orNull(
    z.object({
      Env: orNull(z.array(z.string()).max(1_024)),
      User: orNull(z.string().max(256)),
      WorkingDir: orNull(z.string().max(4_096)),
      Entrypoint: orNull(z.array(z.string()).max(4_096)),
      Cmd: orNull(z.array(z.string()).max(4_096)),
    }),
  ),
  rootfs: z.object({
    type: z.literal('layers'),
    diff_ids: z.array(digestSchema).max(imageLimits.layerCount),
  }),
})
export type OciConfig = z.infer<typeof configSchema>

/** Media types by what they are for. */
export const mediaTypes = {
  indexes: [
    'application/vnd.oci.image.index.v1+json',
    'application/vnd.docker.distribution.manifest.list.v2+json',
  ],
  manifests: [
    'application/vnd.oci.image.manifest.v1+json',
    'application/vnd.docker.distribution.manifest.v2+json',
  ],
  configs: ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'],
  layers: [
    'application/vnd.oci.image.layer.v1.tar',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'application/vnd.oci.image.layer.v1.tar+zstd',
    'application/vnd.docker.image.rootfs.diff.tar',
    'application/vnd.docker.image.rootfs.diff.tar.gzip',
    'application/vnd.docker.image.rootfs.diff.tar.zstd',
  ],
} as const satisfies Record<string, readonly string[]>
