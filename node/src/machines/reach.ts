import type { AtollError } from '@atoll/protocol'
import type { Context } from './context.ts'
import { report } from './transition.ts'

/**
 * Logs that the guest of a running sandbox does not answer, and that it does again. Its machine runs all the same:
 * what it holds may be someone's work, so nothing is ended.
 */
export const reportReach = (context: Context, id: string, fault: AtollError | undefined): void => {
  if (context.closing.aborted || context.ends.has(id)) return
  // A guest that boots or ends has its own events.
  if (context.records.sandboxes.get(id)?.state !== 'running') return
  if (fault === undefined) report(context, id, { type: 'guest_reachable' })
  else report(context, id, { type: 'guest_unreachable', data: { message: fault.message } })
}
