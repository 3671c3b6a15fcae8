import { limits as shared } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { finishDeletions } from './reconcile-snapshots.ts'

/** Forgets what is older than its limit: tombstones with their logs, kept answers, builds. */
export const sweep = async (context: Context): Promise<void> => {
  const now = context.clock.now()
  await context.db
    .deleteFrom('sandboxes')
    .where('ended_at_ms', '<', now - shared.tombstoneKeptMs)
    .execute()
  await context.db
    .deleteFrom('answers')
    .where('created_at_ms', '<', now - shared.idempotencyKeptMs)
    .execute()
  await context.db
    .deleteFrom('builds')
    .where('ended_at_ms', '<', now - context.limits.buildsKeptMs)
    .execute()
  await finishDeletions(context)
}
