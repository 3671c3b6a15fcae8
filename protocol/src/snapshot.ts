import { z } from 'zod'
import { errorBodySchema } from './atoll-error.ts'
import { projectIdSchema, sandboxIdSchema, snapshotIdSchema } from './ids.ts'
import { limits } from './limits.ts'
import { isolationSchema, limitsSchema, pauseDepthSchema, sandboxSchema } from './sandbox.ts'

/** `memory`: memory and disk at one instant. `disk`: the files alone; what is made of it boots. */
export const snapshotKindSchema = z.enum(['memory', 'disk'])
export type SnapshotKind = z.infer<typeof snapshotKindSchema>

/** The body of a snapshot of a running or paused sandbox, which goes on as it was. */
export const createSnapshotSchema = z.object({
  kind: snapshotKindSchema.default('memory'),
  name: z.string().min(1).max(limits.nameLength).optional(),
})
export type CreateSnapshot = z.infer<typeof createSnapshotSchema>

/** A saved sandbox, as the API shows it. Holds neither identity nor token; what user code kept in memory, it has. */
export const snapshotSchema = z.object({
  id: snapshotIdSchema,
  project: projectIdSchema,
  name: z.string().nullable(),
  kind: snapshotKindSchema,
  /** SHA-256 of its manifest, which has size and hash of each file. */
  digest: z.string(),
  sandbox: sandboxIdSchema,
  /** The snapshot that its sandbox was made from. */
  parent: snapshotIdSchema.nullable(),
  template: z.string(),
  imageDigest: z.string(),
  isolation: isolationSchema,
  limits: limitsSchema,
  sizeBytes: z.int(),
  /** How long user code stood still for it. */
  pausedMs: z.number(),
  createdAtMs: z.number(),
})
export type Snapshot = z.infer<typeof snapshotSchema>

/** The body of pause. */
export const pauseSandboxSchema = z.object({ depth: pauseDepthSchema.default('stored') })

/** The body of fork. */
export const forkSandboxSchema = z.object({
  count: z.int().min(1).max(limits.forkCount).default(1),
  /** Of each child; the parent's own length where it is not given. */
  timeoutMs: z.int().min(limits.timeoutMinMs).max(limits.timeoutMaxMs).optional(),
})
export type ForkSandbox = z.infer<typeof forkSandboxSchema>

/** One answer for each child: some may be there although others failed. */
export const forkResultSchema = z.object({
  parent: sandboxIdSchema,
  /** How long user code of the parent stood still. 0 of a paused one. */
  pausedMs: z.number(),
  children: z.array(
    z.discriminatedUnion('ok', [
      z.object({ ok: z.literal(true), sandbox: sandboxSchema }),
      z.object({ ok: z.literal(false), id: sandboxIdSchema, error: errorBodySchema }),
    ]),
  ),
})
export type ForkResult = z.infer<typeof forkResultSchema>
