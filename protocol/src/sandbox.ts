import { z } from 'zod'
import { projectIdSchema, sandboxIdSchema, snapshotIdSchema } from './ids.ts'
import { limits, sandboxLimits } from './limits.ts'

interface Range {
  readonly min: number
  readonly default: number
  readonly max: number
}

const within = (range: Range) => z.int().min(range.min).max(range.max)

const bounded = (range: Range) => within(range).default(range.default)

/** What a sandbox may use. CPU in thousandths of one CPU, sizes in MiB. */
export const limitsSchema = z.object({
  cpuMillis: bounded(sandboxLimits.cpuMillis),
  memoryMib: bounded(sandboxLimits.memoryMib),
  diskMib: bounded(sandboxLimits.diskMib),
  processes: bounded(sandboxLimits.processes),
  openFiles: bounded(sandboxLimits.openFiles),
})
export type SandboxLimits = z.infer<typeof limitsSchema>

/** What a call asks: without defaults, since what is left out is the snapshot's where there is one. */
export const askedLimitsSchema = z.object({
  cpuMillis: within(sandboxLimits.cpuMillis).optional(),
  memoryMib: within(sandboxLimits.memoryMib).optional(),
  diskMib: within(sandboxLimits.diskMib).optional(),
  processes: within(sandboxLimits.processes).optional(),
  openFiles: within(sandboxLimits.openFiles).optional(),
})

export const runtimeNameSchema = z.enum(['gvisor', 'microvm', 'container', 'simulated'])
export type RuntimeName = z.infer<typeof runtimeNameSchema>

export const envSchema = z
  .record(
    z
      .string()
      .min(1)
      .max(256)
      .refine((name) => !name.includes('=') && !name.includes('\0'), 'a name has no "=" and no NUL'),
    z
      .string()
      .max(131_072)
      .refine((value) => !value.includes('\0'), 'a value has no NUL'),
  )
  .refine((env) => Object.keys(env).length <= limits.envCount, `at most ${limits.envCount} variables`)

export const labelsSchema = z
  .record(z.string().min(1).max(limits.labelKeyLength), z.string().max(limits.labelValueLength))
  .refine((labels) => Object.keys(labels).length <= limits.labelCount, `at most ${limits.labelCount} labels`)

const timeoutSchema = z.int().min(limits.timeoutMinMs).max(limits.timeoutMaxMs)
/** What becomes of a sandbox whose host was lost. */
export const endActionSchema = z.enum(['delete', 'stop'])
/** What becomes of a sandbox whose time is over, or that nobody holds. */
export const leaseActionSchema = z.enum(['delete', 'stop', 'pause'])
export type LeaseAction = z.infer<typeof leaseActionSchema>

/** What happens to a sandbox that nobody holds. */
export const idlePolicySchema = z.object({ afterMs: timeoutSchema, action: leaseActionSchema })
export type IdlePolicy = z.infer<typeof idlePolicySchema>

/** The body of create. From a template (`base` where neither is given) or from a snapshot, never both. */
export const createSandboxSchema = z.object({
  template: z.string().min(1).max(limits.nameLength).optional(),
  snapshot: snapshotIdSchema.optional(),
  runtime: runtimeNameSchema.optional(),
  name: z.string().min(1).max(limits.nameLength).optional(),
  env: envSchema.default({}),
  labels: labelsSchema.default({}),
  limits: askedLimitsSchema.default({}),
  user: z.string().min(1).max(64).optional(),
  workdir: z.string().min(1).max(limits.pathBytes).optional(),
  timeoutMs: timeoutSchema.default(limits.timeoutDefaultMs),
  onTimeout: leaseActionSchema.default('delete'),
  idle: idlePolicySchema.optional(),
  /** A call to a paused sandbox resumes it. */
  autoResume: z.boolean().default(true),
  onHostLost: endActionSchema.default('delete'),
})
export type CreateSandbox = z.infer<typeof createSandboxSchema>
export type CreateSandboxInput = z.input<typeof createSandboxSchema>

export const sandboxStateSchema = z.enum([
  'creating',
  'running',
  'pausing',
  'paused',
  'resuming',
  'stopping',
  'stopped',
  'starting',
  'deleting',
  'ended',
])
export type SandboxState = z.infer<typeof sandboxStateSchema>

/** `frozen`: in memory, no CPU, lost with the host. `stored`: on disk, survives a power cut, holds no memory. */
export const pauseDepthSchema = z.enum(['frozen', 'stored'])
export type PauseDepth = z.infer<typeof pauseDepthSchema>

/** Why a sandbox ended (invariant 2). */
export const endCauseSchema = z.enum([
  'deadline',
  'idle',
  'deleted',
  'out_of_memory',
  'host_lost',
  'policy',
  'fault',
  'create_failed',
])
export type EndCause = z.infer<typeof endCauseSchema>

/** What a teardown really removed (invariant 4). */
export const receiptSchema = z.object({
  processes: z.int(),
  cgroups: z.int(),
  mounts: z.int(),
  files: z.int(),
  durationMs: z.number(),
})
export type Receipt = z.infer<typeof receiptSchema>

/** How and when it ended. Can be asked for until `limits.tombstoneKeptMs` have passed. */
export const endedSchema = z.object({
  cause: endCauseSchema,
  by: z.string().nullable(),
  atMs: z.number(),
  message: z.string(),
  receipt: receiptSchema.nullable(),
})
export type Ended = z.infer<typeof endedSchema>

/** Isolation in force (invariant 11). */
export const isolationSchema = z.object({
  runtime: runtimeNameSchema,
  version: z.string(),
  strength: z.enum(['strong', 'weak', 'none']),
  description: z.string(),
  notes: z.array(z.string()),
})
export type Isolation = z.infer<typeof isolationSchema>

/** A sandbox as the API shows it. Times are Unix ms. */
export const sandboxSchema = z.object({
  id: sandboxIdSchema,
  project: projectIdSchema,
  name: z.string().nullable(),
  state: sandboxStateSchema,
  version: z.int(),
  template: z.string(),
  imageDigest: z.string(),
  isolation: isolationSchema,
  limits: limitsSchema,
  labels: z.record(z.string(), z.string()),
  user: z.string(),
  workdir: z.string(),
  createdAtMs: z.number(),
  expiresAtMs: z.number(),
  onTimeout: leaseActionSchema,
  idle: idlePolicySchema.nullable(),
  autoResume: z.boolean(),
  onHostLost: endActionSchema,
  /** Of a paused one; null in every other state. */
  depth: pauseDepthSchema.nullable(),
  /** Grows by one with each identity that its guest got: at create, fork, resume from disk. Read inside from /run/atoll/generation. */
  generation: z.int(),
  /** The snapshot that it was made from. */
  snapshot: snapshotIdSchema.nullable(),
  /** The sandbox that it was forked from. */
  parent: sandboxIdSchema.nullable(),
  network: z.literal('none'),
  ended: endedSchema.nullable(),
  timings: z.record(z.string(), z.number()),
})
export type Sandbox = z.infer<typeof sandboxSchema>

/** Something that keeps a sandbox from being idle. */
export const holderSchema = z.object({
  kind: z.enum(['process', 'terminal', 'connection', 'lease']),
  name: z.string(),
  sinceMs: z.number(),
  untilMs: z.number().nullable(),
})
export type Holder = z.infer<typeof holderSchema>

/** What keeps it alive, and what will happen when. */
export const lifecycleSchema = z.object({
  state: sandboxStateSchema,
  holders: z.array(holderSchema),
  idleSinceMs: z.number().nullable(),
  next: z.array(
    z.object({ atMs: z.number(), action: z.enum(['delete', 'stop', 'pause', 'store']), because: z.string() }),
  ),
  explanation: z.string(),
})
export type Lifecycle = z.infer<typeof lifecycleSchema>

/** One entry of a sandbox's ordered log. `seq` is the cursor. */
export const eventSchema = z.object({
  seq: z.int(),
  atMs: z.number(),
  sandbox: sandboxIdSchema,
  type: z.string(),
  data: z.record(z.string(), z.unknown()),
})
export type SandboxEvent = z.infer<typeof eventSchema>
