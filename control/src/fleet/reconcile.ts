import type { Context } from '../context.ts'
import { probe } from './apply.ts'

/**
 * After a start: every record that has not ended is probed. A creation that never reached the node ends
 * as create_failed; what the node lost ends as host_lost; what runs is taken over as it is.
 */
export const reconcile = async (context: Context): Promise<void> => {
  const rows = await context.db.selectFrom('sandboxes').selectAll().where('state', '!=', 'ended').execute()
  const known = new Set(rows.map((row) => row.id))
  for (const row of rows) {
    try {
      await probe(context, row)
    } catch (error) {
      // The record stays as it was: the next GET or event probes again.
      context.logger.warn({ sandbox: row.id, error: String(error) }, 'cannot probe a sandbox at start')
    }
  }
  for (const seen of await context.node.list()) {
    if (known.has(seen.id) || seen.state === 'ended') continue
    context.logger.warn(
      { sandbox: seen.id },
      'the node runs a sandbox that control has no record of; its lease ends it',
    )
  }
}
