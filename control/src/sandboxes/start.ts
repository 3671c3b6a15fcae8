import type { Sandbox } from '@atoll/protocol'
import { claimQuota } from '../access/quota.ts'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'

/** Starts a stopped sandbox on its disk; CPU and memory count against the quota again. */
export const startSandbox = async (context: Context, caller: Caller, id: string): Promise<Sandbox> => {
  const found = await findSandbox(context, caller, id)
  return await context.turns.take(id, async () => {
    const row = await probe(context, found)
    refuseEnded(row, 'start')
    if (row.state !== 'stopped')
      return viewSandbox(await applySeen(context, row, await context.node.start(id)))
    // The state moves in the transaction that claims the quota, so that no second claim counts it as stopped.
    await context.db.transaction().execute(async (trx) => {
      await claimQuota(trx, row.project, {
        sandboxes: 0,
        cpuMillis: row.cpu_millis,
        memoryMib: row.memory_mib,
      })
      await trx
        .updateTable('sandboxes')
        .set({ state: 'starting', version: row.version + 1 })
        .where('id', '=', id)
        .where('version', '=', row.version)
        .execute()
    })
    context.owners.forget(id)
    try {
      const seen = await context.node.start(id)
      await recordAct(context, caller, id, 'start')
      return viewSandbox(await applySeen(context, await findSandbox(context, caller, id), seen))
    } catch (error) {
      await probe(context, await findSandbox(context, caller, id))
      throw error
    }
  })
}
