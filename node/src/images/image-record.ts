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

/** What makes an image this image; its hash is the digest. */
export const imageDescriptionSchema = z.object({
  formatVersion: z.literal(imageFormatVersion),
  /** Hashes of the decompressed archives, lowest first: the content's own identity. */
  layers: z.array(z.string().regex(/^sha256:[a-f0-9]{64}$/)).min(1),
  agentSha256: hexSchema,
  mkfsOptions: z.array(z.string()),
})
export type ImageDescription = z.infer<typeof imageDescriptionSchema>

/** `templates/<digest>.json`, beside `templates/<digest>.erofs`. */
export const imageRecordSchema = z.object({
  digest: hexSchema,
  description: imageDescriptionSchema,
  erofs: z.object({ sha256: hexSchema, sizeBytes: z.number().min(1) }),
  /** Where it came from, for people: `base`, a registry's reference, a build. */
  origin: z.string().max(1_024),
  reports: z.array(unpackReportSchema),
  createdAtMs: z.number(),
})
export type ImageRecord = z.infer<typeof imageRecordSchema>
