import { AtollError, endedSchema, type Ended, type Receipt, type Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { applySeen, askNode, endRecord } from '../fleet/apply.ts'
import type { SandboxRow } from '../store/tables.ts'
import { findSandbox } from './find.ts'
import { viewSandbox } from './view.ts'

const nothing: Receipt = { processes: 0, cgroups: 0, mounts: 0, files: 0, durationMs: 0 }

/** Ends a sandbox from whatever state (invariant 4). A second call answers with the first one's receipt. */
export const deleteSandbox = async (
  context: Context,
  caller: Caller,
  id: string,
): Promise<{ sandbox: Sandbox; receipt: Receipt }> => {
  const row = await findSandbox(context, caller, id)
  const ended = endedOf(row)
  // Without a receipt the record knows of the end, and not of what was freed: the node is asked for it.
  if (ended?.receipt) return { sandbox: viewSandbox(row), receipt: ended.receipt }
  const receipt = await askDelete(context, id, caller.key)
  const seen = await askNode(context, id)
  const after =
    seen?.state === 'ended'
      ? await applySeen(context, row, seen)
      : await endRecord(context, row, 'deleted', caller.key, `deleted by ${caller.key}`, receipt)
  return { sandbox: viewSandbox(after), receipt }
}

const endedOf = (row: SandboxRow): Ended | undefined =>
  row.ended === null ? undefined : endedSchema.parse(JSON.parse(row.ended))

const askDelete = async (context: Context, id: string, by: string): Promise<Receipt> => {
  try {
    return await context.node.delete(id, 'deleted', by)
  } catch (error) {
    // The node never had it: there is nothing to free, which is what the receipt says.
    if (error instanceof AtollError && error.code === 'not_found') return nothing
    throw error
  }
}
