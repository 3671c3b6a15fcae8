import { AtollError, type NodeSnapshot, type SnapshotKind } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { SnapshotRecord } from '../records/snapshots.ts'
import { forgetSnapshot, removeUnnamed } from '../snapshots/remove.ts'
import { round } from './boot.ts'
import { capture, type CaptureOrder, refuseUnsupportedCapture } from './capture.ts'
import type { Context } from './context.ts'
import { liveOfRecord } from './freeze.ts'
import { inLine } from './line.ts'
import { machineLimits } from './limits.ts'
import { openFor } from './make-machine.ts'
import { thawed } from './thawed.ts'
import { report } from './transition.ts'

/** What is asked for: the id is control's. */
export interface SnapshotOrder {
  readonly id: string
  readonly kind: SnapshotKind
}

/** Saves a sandbox durably, once for an id; it goes on as it was, running or paused. */
export const snapshotSandbox = async (
  context: Context,
  sandboxId: string,
  order: SnapshotOrder,
  by: string,
): Promise<NodeSnapshot> => {
  const done = taken(context, sandboxId, order)
  if (done !== undefined) return shownSnapshot(done)
  const row = await inLine(
    context,
    sandboxId,
    { name: `snapshot ${order.id}`, act: 'cannot snapshot', ms: machineLimits.captureMs },
    async (record, signal) =>
      taken(context, sandboxId, order) ?? (await take(context, record, order, by, signal)),
  )
  return shownSnapshot(row)
}

/** The row of an order that was carried out before. */
const taken = (
  context: Context,
  sandboxId: string,
  { id, kind }: SnapshotOrder,
): SnapshotRecord | undefined => {
  const row = context.records.snapshots.get(id)
  if (row === undefined) return undefined
  if (row.owner === 'user' && row.sandbox === sandboxId && row.kind === kind) return row
  throw new AtollError('conflict', `cannot snapshot ${sandboxId}: ${id} stands for another snapshot`)
}

const take = async (
  context: Context,
  record: SandboxRecord,
  { id, kind }: SnapshotOrder,
  by: string,
  signal: AbortSignal,
): Promise<SnapshotRecord> => {
  const act = `cannot snapshot ${record.id}`
  const isLive = record.state === 'running' || (record.state === 'paused' && record.depth === 'frozen')
  const order: CaptureOrder = { id, owner: 'user', kind, after: 'goOn' }
  const row = isLive
    ? await takeOfLive(context, record, order, signal)
    : await takeOfSaved(context, record, order, act, signal)
  const { sizeBytes, detail } = row
  try {
    signal.throwIfAborted()
    context.records.snapshots.insert(row)
  } catch (error) {
    await removeUnnamed(context, row.digest)
    throw error
  }
  report(context, record.id, {
    type: 'snapshotted',
    data: { snapshot: id, kind, sizeBytes, pausedMs: detail.pausedMs, by },
  })
  return row
}

const takeOfLive = async (
  context: Context,
  record: SandboxRecord,
  order: CaptureOrder,
  signal: AbortSignal,
): Promise<SnapshotRecord> => {
  const runtime = await context.runtimes.choose(record.runtime)
  refuseUnsupportedCapture(runtime, order.kind, `cannot snapshot ${record.id}`)
  const live = liveOfRecord(context, record, 'cannot snapshot')
  return await thawed(
    context,
    record,
    live,
    async () => (await capture(context, { record, live, runtime }, order, signal)).row,
    signal,
  )
}

/** Of a state on disk: a second row for the same files, once they are verified. */
const takeOfSaved = async (
  context: Context,
  record: SandboxRecord,
  { id, kind }: CaptureOrder,
  act: string,
  signal: AbortSignal,
): Promise<SnapshotRecord> => {
  const row = record.saved === null ? undefined : context.records.snapshots.get(record.saved)
  if (row === undefined || row.kind !== kind)
    throw new AtollError('state_conflict', `${act} of kind ${kind}: it is ${record.state}`, {
      sandboxState: record.state,
      remedy: record.state === 'paused' ? 'resume it first, or ask for kind memory' : 'start it first',
    })
  const runtime = await context.runtimes.choose(record.runtime)
  await using _verified = await openFor(context, runtime, row, signal)
  return {
    ...row,
    id,
    owner: 'user',
    detail: { ...row.detail, pausedMs: 0 },
    createdAtMs: context.clock.now(),
  }
}

/** Those of users, oldest first. */
export const listSnapshots = (context: Context): NodeSnapshot[] =>
  context.records.snapshots.ofOwner('user').map(shownSnapshot)

/** Forgets one; its files go where nothing else stands on them. */
export const deleteSnapshot = async (context: Context, id: string): Promise<{ freedBytes: number }> => {
  if (context.records.snapshots.get(id)?.owner !== 'user')
    throw new AtollError('not_found', `cannot delete snapshot ${id}: this node has none of that id`)
  return { freedBytes: await forgetSnapshot(context, id) }
}

const shownSnapshot = (row: SnapshotRecord): NodeSnapshot => ({
  id: row.id,
  kind: row.kind,
  digest: row.digest,
  sandbox: row.sandbox ?? '',
  imageDigest: row.imageDigest,
  isolation: row.detail.isolation,
  limits: row.detail.limits,
  sizeBytes: row.sizeBytes,
  pausedMs: round(row.detail.pausedMs),
  createdAtMs: row.createdAtMs,
})
