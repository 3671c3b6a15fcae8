import {
  AtollError,
  type CreateSandbox,
  type ImageConfig,
  type Isolation,
  isolationSchema,
  limitsSchema,
  type SandboxLimits,
} from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { chooseRuntime } from '../placement/choose-runtime.ts'
import { findReadySnapshot } from '../snapshots/find.ts'
import type { SnapshotRow } from '../store/tables.ts'
import { resolveTemplate } from '../templates/resolve.ts'
import { baseName } from '../templates/base.ts'

/** What a new sandbox is made from, and what it gets where the call says nothing. */
export interface Origin {
  readonly template: string
  readonly imageDigest: string
  readonly snapshot: string | null
  readonly isolation: Isolation
  readonly limits: SandboxLimits
  readonly env: Readonly<Record<string, string>>
  readonly user: string
  readonly workdir: string
  readonly start: ImageConfig['start']
  readonly ready: ImageConfig['ready']
}

/** The template or the snapshot that was asked for; `base` where neither was. */
export const findOrigin = async (context: Context, caller: Caller, input: CreateSandbox): Promise<Origin> => {
  if (input.snapshot === undefined) return await ofTemplate(context, caller, input)
  if (input.template === undefined)
    return await ofSnapshot(context, await findReadySnapshot(context, caller, input.snapshot), input)
  throw new AtollError(
    'invalid_request',
    `cannot create from template ${input.template} and snapshot ${input.snapshot}: give one of both; a snapshot has its template`,
  )
}

const ofTemplate = async (context: Context, caller: Caller, input: CreateSandbox): Promise<Origin> => {
  const template = await resolveTemplate(context, caller, input.template ?? baseName)
  return {
    template: template.name,
    imageDigest: template.imageDigest,
    snapshot: null,
    isolation: await chooseRuntime(context, input.runtime),
    limits: limitsSchema.parse(input.limits),
    env: template.config.env,
    user: template.config.user,
    workdir: template.config.workdir,
    start: template.config.start,
    ready: template.config.ready,
  }
}

const ofSnapshot = async (context: Context, row: SnapshotRow, input: CreateSandbox): Promise<Origin> => {
  const saved: Isolation = isolationSchema.parse(JSON.parse(row.isolation))
  if (input.runtime !== undefined && input.runtime !== saved.runtime)
    throw new AtollError(
      'invalid_request',
      `cannot create from snapshot ${row.id} on ${input.runtime}: it is of ${saved.runtime}; leave the runtime out`,
    )
  const limits = limitsSchema.parse(JSON.parse(row.limits))
  const { diskMib } = input.limits
  if (diskMib !== undefined && diskMib !== limits.diskMib)
    throw new AtollError(
      'invalid_request',
      `cannot create from snapshot ${row.id} with a disk of ${diskMib} MiB: its disk has ${limits.diskMib} MiB, and keeps them; leave diskMib out`,
    )
  const config = await imageConfig(context, row.image_digest)
  return {
    template: row.template,
    imageDigest: row.image_digest,
    snapshot: row.id,
    // The version in force may be another than the snapshot's: then the node refuses, with what differs.
    isolation: await chooseRuntime(context, saved.runtime),
    limits: limitsSchema.parse({ ...limits, ...definedOf(input.limits) }),
    env: config?.env ?? {},
    user: row.user,
    workdir: row.workdir,
    start: config?.start ?? null,
    ready: config?.ready ?? null,
  }
}

/** The env of a create is not kept in records: it may hold what no snapshot should. The image's own is. */
const imageConfig = async (context: Context, digest: string): Promise<ImageConfig | undefined> =>
  (await context.node.images()).find((image) => image.digest === digest)?.config

const definedOf = <Shape extends object>(shape: Shape): Partial<Shape> =>
  Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined)) as Partial<Shape>
