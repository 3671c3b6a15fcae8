import type { NodeSnapshot } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { readSandbox } from '../sandboxes/find.ts'
import { setReady } from '../snapshots/create.ts'
import { removeSnapshot } from '../snapshots/delete.ts'
import type { SnapshotRow } from '../store/tables.ts'
import { nodeName } from './apply.ts'

/**
 * After a start, both ways: what was being made is there or is not; what the node lost is refused by name and
 * not forgotten; what only the node knows gets a record again where its sandbox tells whose it is.
 */
export const reconcileSnapshots = async (context: Context): Promise<void> => {
  try {
    await settleAll(context, await context.node.snapshots())
  } catch (error) {
    // The records stay as they were: what the node does not have, it refuses itself.
    context.logger.error({ error: String(error) }, 'cannot settle snapshots with the node at start')
  }
}

const settleAll = async (context: Context, there: readonly NodeSnapshot[]): Promise<void> => {
  const seen = new Map(there.map((snapshot) => [snapshot.id, snapshot]))
  for (const row of await context.db.selectFrom('snapshots').selectAll().execute()) {
    const kept = seen.get(row.id)
    seen.delete(row.id)
    try {
      await settle(context, row, kept)
    } catch (error) {
      context.logger.warn({ snapshot: row.id, error: String(error) }, 'cannot settle a snapshot at start')
    }
  }
  for (const snapshot of seen.values()) await takeOver(context, snapshot)
}

/** Finishes deletions that the node could not be asked for. */
export const finishDeletions = async (context: Context): Promise<void> => {
  const rows = await context.db.selectFrom('snapshots').selectAll().where('state', '=', 'deleting').execute()
  for (const row of rows)
    await removeSnapshot(context, row).catch((fault: unknown) =>
      context.logger.warn({ snapshot: row.id, error: String(fault) }, 'cannot remove a snapshot yet'),
    )
}

const settle = async (context: Context, row: SnapshotRow, there: NodeSnapshot | undefined): Promise<void> => {
  if (row.state === 'deleting') return void (await removeSnapshot(context, row))
  if (there !== undefined && row.state !== 'ready') return void (await setReady(context, row.id, there))
  if (there !== undefined || row.state === 'lost') return
  if (row.state === 'creating') {
    await context.db.deleteFrom('snapshots').where('id', '=', row.id).execute()
    return
  }
  context.logger.warn({ snapshot: row.id }, 'the node has no files of a snapshot any more')
  await context.db.updateTable('snapshots').set({ state: 'lost' }).where('id', '=', row.id).execute()
}

const takeOver = async (context: Context, snapshot: NodeSnapshot): Promise<void> => {
  const sandbox = await readSandbox(context, snapshot.sandbox)
  if (sandbox === undefined) {
    context.logger.warn(
      { snapshot: snapshot.id, sandbox: snapshot.sandbox },
      'the node keeps a snapshot of a sandbox that control has no record of',
    )
    return
  }
  await context.db
    .insertInto('snapshots')
    .values({
      id: snapshot.id,
      project: sandbox.project,
      node: nodeName,
      state: 'ready',
      name: null,
      kind: snapshot.kind,
      digest: snapshot.digest,
      sandbox: sandbox.id,
      parent: sandbox.snapshot,
      template: sandbox.template,
      image_digest: snapshot.imageDigest,
      isolation: JSON.stringify(snapshot.isolation),
      limits: JSON.stringify(snapshot.limits),
      user: sandbox.user,
      workdir: sandbox.workdir,
      size_bytes: snapshot.sizeBytes,
      paused_ms: snapshot.pausedMs,
      created_at_ms: Math.round(snapshot.createdAtMs),
      created_by: sandbox.created_by,
    })
    .execute()
}
