import { z } from 'zod'
import { buildIdSchema, projectIdSchema, templateIdSchema } from './ids.ts'
import { limits } from './limits.ts'
import { envSchema } from './sandbox.ts'

/** A template's name: lower case, may carry a tag. */
export const templateNameSchema = z
  .string()
  .max(limits.nameLength)
  .regex(
    /^[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9._-]+)?$/,
    'must be lower-case letters, digits, . _ / - and an optional :tag',
  )

/** One step of a build; each is one layer of the cache. */
export const stepSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('run'),
    argv: z.array(z.string()).min(1).optional(),
    shell: z.string().min(1).optional(),
    user: z.string().optional(),
    timeoutMs: z.int().min(1).optional(),
  }),
  z.object({
    type: z.literal('copy'),
    /** Path of an entry in the uploaded context. */ from: z.string().min(1),
    to: z.string().min(1),
    owner: z.string().optional(),
  }),
  z.object({ type: z.literal('env'), env: envSchema }),
  z.object({ type: z.literal('workdir'), path: z.string().min(1) }),
  z.object({ type: z.literal('user'), user: z.string().min(1) }),
  z.object({ type: z.literal('start'), argv: z.array(z.string()).min(1) }),
  z.object({
    type: z.literal('ready'),
    argv: z.array(z.string()).min(1),
    timeoutMs: z.int().min(1).max(limits.readyTimeoutMaxMs).default(30_000),
  }),
])
export type Step = z.infer<typeof stepSchema>

/** What a build starts from. Paths are of the node's own disk and only for keys with the `admin` scope. */
export const buildSourceSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('template'), name: z.string().min(1) }),
  z.object({
    type: z.literal('registry'),
    reference: z.string().min(1).max(512),
    username: z.string().optional(),
    password: z.string().optional(),
    plainHttp: z.boolean().default(false),
  }),
  /** An archive that was uploaded before (`PUT /v1/templates/uploads/{sha256}`): rootfs tar or OCI archive. */
  z.object({ type: z.literal('tar'), upload: z.string().regex(/^[a-f0-9]{64}$/) }),
  z.object({ type: z.literal('oci'), upload: z.string().regex(/^[a-f0-9]{64}$/) }),
])
export type BuildSource = z.infer<typeof buildSourceSchema>

export const buildTemplateSchema = z.object({
  name: templateNameSchema,
  source: buildSourceSchema,
  steps: z.array(stepSchema).max(256).default([]),
  /** Uploaded tar with what `copy` steps name. */
  context: z
    .string()
    .regex(/^[a-f0-9]{64}$/)
    .optional(),
  noCache: z.boolean().default(false),
})
export type BuildTemplate = z.infer<typeof buildTemplateSchema>

/** Defaults that a template carries. */
export const imageConfigSchema = z.object({
  env: envSchema.default({}),
  user: z.string().default('root'),
  workdir: z.string().default('/'),
  start: z.array(z.string()).nullable().default(null),
  /** No maximum: it comes from a step, and a template built before the step had one stays readable. */
  ready: z
    .object({ argv: z.array(z.string()), timeoutMs: z.int() })
    .nullable()
    .default(null),
})
export type ImageConfig = z.infer<typeof imageConfigSchema>

export const templateSchema = z.object({
  id: templateIdSchema,
  project: projectIdSchema.nullable(),
  name: z.string(),
  imageDigest: z.string(),
  sizeBytes: z.number(),
  config: imageConfigSchema,
  createdAtMs: z.number(),
})
export type Template = z.infer<typeof templateSchema>

/** A build is a long operation: a resource with terminal states. */
export const buildSchema = z.object({
  id: buildIdSchema,
  name: z.string(),
  state: z.enum(['running', 'succeeded', 'failed', 'canceled']),
  template: templateIdSchema.nullable(),
  error: z.record(z.string(), z.unknown()).nullable(),
  startedAtMs: z.number(),
  endedAtMs: z.number().nullable(),
})
export type Build = z.infer<typeof buildSchema>

/** One line of a build's log (NDJSON). */
export const buildEventSchema = z.object({
  type: z.enum(['progress', 'step', 'output', 'error', 'done', 'heartbeat']),
  atMs: z.number(),
  step: z.int().optional(),
  instruction: z.string().optional(),
  cached: z.boolean().optional(),
  text: z.string().optional(),
  doneBytes: z.number().optional(),
  totalBytes: z.number().optional(),
  imageDigest: z.string().optional(),
  error: z.record(z.string(), z.unknown()).optional(),
})
export type BuildEvent = z.infer<typeof buildEventSchema>
