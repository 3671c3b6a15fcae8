import { z } from 'zod'
import { keyIdSchema, projectIdSchema } from './ids.ts'
import { limits } from './limits.ts'

/** What a key may do. `admin` is everything, other projects included. */
export const scopeSchema = z.enum([
  'admin',
  'sandboxes:read',
  'sandboxes:write',
  'templates:read',
  'templates:write',
  'keys:write',
])
export type Scope = z.infer<typeof scopeSchema>

export const quotaSchema = z.object({
  sandboxes: z.int().min(0).default(100),
  cpuMillis: z.int().min(0).default(64_000),
  memoryMib: z.int().min(0).default(65_536),
})
export type Quota = z.infer<typeof quotaSchema>

export const projectSchema = z.object({
  id: projectIdSchema,
  name: z.string(),
  quota: quotaSchema,
  createdAtMs: z.number(),
})
export type Project = z.infer<typeof projectSchema>

export const keySchema = z.object({
  id: keyIdSchema,
  project: projectIdSchema,
  name: z.string(),
  scopes: z.array(scopeSchema),
  createdAtMs: z.number(),
  lastUsedAtMs: z.number().nullable(),
  revokedAtMs: z.number().nullable(),
})
export type Key = z.infer<typeof keySchema>

export const createKeySchema = z.object({
  name: z.string().min(1).max(limits.nameLength),
  scopes: z.array(scopeSchema).min(1),
  project: projectIdSchema.optional(),
})
/** The secret is shown here once, and nowhere again. */
export const createdKeySchema = keySchema.extend({ secret: z.string() })
export type CreatedKey = z.infer<typeof createdKeySchema>
