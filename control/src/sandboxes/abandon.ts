import { AtollError } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { endRecord } from '../fleet/apply.ts'
import type { SandboxRow } from '../store/tables.ts'

/** A creation that failed leaves nothing: the node is told to free what there may be, the record ends. */
export const abandonCreation = async (context: Context, row: SandboxRow, error: unknown): Promise<void> => {
  const message = error instanceof AtollError ? `${error.code}: ${error.message}` : 'a fault of the node'
  try {
    await context.node.delete(row.id, 'create_failed', row.created_by)
  } catch (fault) {
    if (!(fault instanceof AtollError && fault.code === 'not_found'))
      context.logger.warn(
        { sandbox: row.id, error: String(fault) },
        'cannot free a failed creation; its lease ends it',
      )
  }
  await endRecord(context, row, 'create_failed', null, message)
}
