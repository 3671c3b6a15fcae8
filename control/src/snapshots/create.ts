import { AtollError, type CreateSnapshot, makeId, type NodeSnapshot, type Snapshot } from '@atoll/protocol'
import type { Transaction } from 'kysely'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { nodeName, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from '../sandboxes/find.ts'
import type { SandboxRow, SnapshotRow, Tables } from '../store/tables.ts'
import { removeSnapshot } from './delete.ts'
import { readSnapshot } from './find.ts'
import { viewSnapshot } from './view.ts'

/** The id of a new snapshot. */
export const newSnapshotId = (context: Context): string => makeId('snp', context.random(20))

/**
 * Saves a sandbox that goes on as it was. The record stands before the node begins, with the id that an
 * Idempotency-Key stands for: the node makes one snapshot of one id, so that a repeated call finds it.
 */
export const createSnapshot = async (
  context: Context,
  caller: Caller,
  sandbox: string,
  input: CreateSnapshot,
  id: string,
): Promise<Snapshot> => {
  const before = await readSnapshot(context, id)
  if (before?.state === 'ready' || before?.state === 'lost') return viewSnapshot(before)
  if (before?.state === 'deleting') await removeSnapshot(context, before)
  const found = await findSandbox(context, caller, sandbox)
  const row = await probe(context, found)
  refuseEnded(row, 'snapshot')
  if (before?.state !== 'creating') await insert(context, newRow(context, caller, row, input, id))
  const seen = await context.node
    .snapshot(sandbox, { id, kind: input.kind }, caller.key)
    .catch(async (error: unknown) => {
      await giveUp(context, id)
      throw error
    })
  const made = await setReady(context, id, seen)
  await recordAct(context, caller, sandbox, 'snapshot', {
    snapshot: id,
    kind: seen.kind,
    name: made.name,
    pausedMs: seen.pausedMs,
  })
  return viewSnapshot(made)
}

const newRow = (
  context: Context,
  caller: Caller,
  sandbox: SandboxRow,
  input: CreateSnapshot,
  id: string,
): SnapshotRow => ({
  id,
  project: sandbox.project,
  node: nodeName,
  state: 'creating',
  name: input.name ?? null,
  kind: input.kind,
  digest: '',
  sandbox: sandbox.id,
  parent: sandbox.snapshot,
  template: sandbox.template,
  image_digest: sandbox.image_digest,
  isolation: sandbox.isolation,
  limits: sandbox.limits,
  user: sandbox.user,
  workdir: sandbox.workdir,
  size_bytes: 0,
  paused_ms: 0,
  created_at_ms: context.clock.now(),
  created_by: caller.key,
})

const insert = (context: Context, row: SnapshotRow): Promise<void> =>
  context.db.transaction().execute(async (trx) => {
    // Locks the project's row: no two of one name, and no two that both take the last place.
    await trx
      .updateTable('projects')
      .set((eb) => ({ version: eb('version', '+', 1) }))
      .where('id', '=', row.project)
      .execute()
    await refuseTooMany(trx, row.project, context.limits.snapshotsPerProject)
    await refuseTaken(trx, row)
    await trx.insertInto('snapshots').values(row).execute()
  })

const refuseTooMany = async (trx: Transaction<Tables>, project: string, granted: number): Promise<void> => {
  const { used } = await trx
    .selectFrom('snapshots')
    .select((eb) => eb.fn.countAll<number>().as('used'))
    .where('project', '=', project)
    .executeTakeFirstOrThrow()
  if (Number(used) < granted) return
  throw new AtollError(
    'quota_exceeded',
    `cannot keep another snapshot for project ${project}: it has ${used} of ${granted}; delete one`,
    { details: { limit: 'snapshots', used: Number(used), granted, asked: 1 } },
  )
}

const refuseTaken = async (trx: Transaction<Tables>, row: SnapshotRow): Promise<void> => {
  if (row.name === null) return
  const other = await trx
    .selectFrom('snapshots')
    .select('id')
    .where('project', '=', row.project)
    .where('name', '=', row.name)
    .executeTakeFirst()
  if (other === undefined) return
  throw new AtollError(
    'conflict',
    `cannot name a snapshot ${row.name}: ${other.id} has that name; delete it, or take another name`,
    { details: { snapshot: other.id } },
  )
}

/** Writes what the node made into the record. */
export const setReady = (context: Context, id: string, seen: NodeSnapshot): Promise<SnapshotRow> =>
  context.db
    .updateTable('snapshots')
    .set({
      state: 'ready',
      kind: seen.kind,
      digest: seen.digest,
      isolation: JSON.stringify(seen.isolation),
      limits: JSON.stringify(seen.limits),
      size_bytes: seen.sizeBytes,
      paused_ms: seen.pausedMs,
      created_at_ms: Math.round(seen.createdAtMs),
    })
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()

/** The record of a failed one goes once the node has none of it; until then it is `deleting`. */
const giveUp = async (context: Context, id: string): Promise<void> => {
  const row = await readSnapshot(context, id)
  if (row === undefined) return
  await removeSnapshot(context, row).catch((fault: unknown) =>
    context.logger.warn({ snapshot: id, error: String(fault) }, 'cannot remove a failed snapshot yet'),
  )
}
