import { createHash } from 'node:crypto'
import { AtollError, runtimeNameSchema, snapshotKindSchema } from '@atoll/protocol'
import { z } from 'zod'
import { snapshotLimits } from './limits.ts'

/** The one format that this build reads. What an older build must not ignore gets a new number. */
export const manifestVersion = 1

export const manifestName = 'manifest.json'
const hexSchema = z.string().regex(/^[a-f0-9]{64}$/)
const wordSchema = z.string().min(1).max(128)

/** A plain name: no folder, no dot at its start, never the manifest's own. */
const fileNameSchema = z
  .string()
  .max(snapshotLimits.fileNameLength)
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/)
  .refine((name) => name !== manifestName)

/** Strict: a field that this build does not know may change the meaning of those that it does. */
export const manifestSchema = z.strictObject({
  formatVersion: z.literal(manifestVersion),
  kind: snapshotKindSchema,
  runtime: runtimeNameSchema,
  runtimeVersion: wordSchema,
  cpu: z.strictObject({
    vendor: wordSchema,
    family: wordSchema,
    model: wordSchema,
    flags: z.array(z.string().max(64)).max(snapshotLimits.cpuFlags),
  }),
  agentGeneration: z.int().min(1),
  imageDigest: hexSchema,
  diskBytes: z.number().int().min(0),
  files: z
    .array(z.strictObject({ name: fileNameSchema, bytes: z.number().int().min(0), sha256: hexSchema }))
    .min(1)
    .max(snapshotLimits.files)
    .refine((files) => new Set(files.map(({ name }) => name)).size === files.length, 'a name twice'),
  createdAtMs: z.number(),
  /** Makes the digest its own: two snapshots never share a folder by chance, and deleting one frees one. */
  nonce: z.string().regex(/^[a-f0-9]{32}$/),
})
/** What a snapshot says of itself; its SHA-256 names the snapshot. */
export type Manifest = z.output<typeof manifestSchema>

/** The digest of a manifest's bytes. */
export const digestOf = (bytes: string | Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex')

/** Reads a manifest whose bytes were found to be those of the digest. */
export const parseManifest = (digest: string, bytes: Uint8Array): Manifest => {
  const act = `cannot use snapshot ${digest}`
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    throw new AtollError('snapshot_invalid', `${act}: its manifest is no JSON; delete it and save anew`, {
      cause: error,
    })
  }
  const version = z.object({ formatVersion: z.number() }).safeParse(value)
  if (version.success && version.data.formatVersion !== manifestVersion)
    throw new AtollError(
      'snapshot_unfit',
      `${act}: its format is ${version.data.formatVersion}, this build reads ${manifestVersion}; use the build that saved it`,
    )
  const parsed = manifestSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const unknown = parsed.error.issues.some(({ code }) => code === 'unrecognized_keys')
  throw new AtollError(
    unknown ? 'snapshot_unfit' : 'snapshot_invalid',
    `${act}: its manifest ${unknown ? 'has fields of another build' : 'is malformed'} (${z.prettifyError(parsed.error).slice(0, 200)}); save anew`,
  )
}
