import { z } from 'zod'
import { limits } from './limits.ts'

/** A path inside a sandbox: absolute, or relative to the user's home. */
export const pathSchema = z
  .string()
  .min(1)
  .max(limits.pathBytes)
  .refine((path) => !path.includes('\0'), 'a path has no NUL')

export const entrySchema = z.object({
  path: z.string(),
  name: z.string(),
  type: z.enum(['file', 'directory', 'symlink', 'fifo', 'socket', 'device']),
  size: z.number(),
  mode: z.int(),
  uid: z.int(),
  gid: z.int(),
  user: z.string(),
  group: z.string(),
  modifiedMs: z.number(),
  target: z.string().nullable(),
})
export type Entry = z.infer<typeof entrySchema>

/** The receipt of a write, as the guest read it back after the rename (invariant 1). */
export const writtenSchema = z.object({
  path: z.string(),
  size: z.number(),
  sha256: z.string(),
  mode: z.int(),
  uid: z.int(),
  gid: z.int(),
})
export type Written = z.infer<typeof writtenSchema>

export const moveSchema = z.object({
  from: pathSchema,
  to: pathSchema,
  overwrite: z.boolean().default(false),
  user: z.string().max(64).optional(),
})
export const removeSchema = z.object({
  path: pathSchema,
  recursive: z.boolean().default(false),
  user: z.string().max(64).optional(),
})
export const makeSchema = z.object({
  path: pathSchema,
  mode: z.int().min(0).max(0o7777).default(0o755),
  parents: z.boolean().default(false),
  user: z.string().max(64).optional(),
})

export const watchEventSchema = z.object({
  type: z.enum([
    'ready',
    'created',
    'written',
    'removed',
    'moved',
    'attributes',
    'overflow',
    'heartbeat',
    'error',
  ]),
  path: z.string().optional(),
  from: z.string().optional(),
})
export type WatchEvent = z.infer<typeof watchEventSchema>

export const metricsSchema = z.object({
  memory: z.object({ limitBytes: z.number(), usedBytes: z.number() }),
  disk: z.object({ limitBytes: z.number(), usedBytes: z.number() }),
  processes: z.object({ limit: z.number(), count: z.number(), zombies: z.number() }),
  cpu: z.object({ usedMs: z.number() }),
  agent: z.object({ residentBytes: z.number(), openStreams: z.number() }),
  oomKills: z.number(),
})
export type Metrics = z.infer<typeof metricsSchema>
