import { imageConfigSchema } from '@atoll/protocol'
import { z } from 'zod'
import { imageFormatVersion } from './limits.ts'

const hexSchema = z.string().regex(/^[a-f0-9]{64}$/)

const skippedSchema = z.object({ count: z.int().min(0), names: z.array(z.string()).max(64) })

/** What the jailed unpacker says of one archive. */
export const unpackReportSchema = z.object({
  entries: z.int().min(0),
  contentBytes: z.number().min(0),
  archiveBytes: z.number().min(0),
  diffId: z.string().regex(/^sha256:[a-f0-9]{64}$/),
  whiteouts: z.int().min(0),
  skippedDevices: skippedSchema,
  skippedAttributes: skippedSchema,
})
export type UnpackReport = z.infer<typeof unpackReportSchema>

/** What makes a root filesystem this one; its hash names the EROFS file. */
export const rootfsDescriptionSchema = z.object({
  formatVersion: z.literal(imageFormatVersion),
  /** Hashes of the decompressed archives, lowest first: the content's own identity. */
  layers: z.array(z.string().regex(/^sha256:[a-f0-9]{64}$/)).min(1),
  agentSha256: hexSchema,
  mkfsOptions: z.array(z.string()),
})
export type RootfsDescription = z.infer<typeof rootfsDescriptionSchema>

/** A root filesystem that was made: `templates/<digest>.erofs`. */
export const rootfsSchema = z.object({
  digest: hexSchema,
  description: rootfsDescriptionSchema,
  /** The file's own bytes, checked before it is used. */
  sha256: hexSchema,
  sizeBytes: z.number().min(1),
  reports: z.array(unpackReportSchema),
})
export type Rootfs = z.infer<typeof rootfsSchema>

/** `templates/<digest>.json`: a root filesystem and defaults; the digest is the hash of both. */
export const imageRecordSchema = z.object({
  digest: hexSchema,
  rootfs: rootfsSchema,
  config: imageConfigSchema,
  /** Where it came from first, for people: `base`, a registry's reference, a build. */
  origin: z.string().max(1_024),
  createdAtMs: z.number(),
})
export type ImageRecord = z.infer<typeof imageRecordSchema>
