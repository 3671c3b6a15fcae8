import type { NodeSandbox, Sandbox, SandboxState } from '@atoll/protocol'
import { claimQuota, demandToRun } from '../access/quota.ts'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import type { SandboxRow } from '../store/tables.ts'
import { findSandbox } from './find.ts'
import { viewSandbox } from './view.ts'

/**
 * Brings back a sandbox that holds no CPU now: its state moves in the transaction that claims the quota, so
 * that no second claim counts it as resting.
 */
export const wake = async (
  context: Context,
  caller: Caller,
  row: SandboxRow,
  act: { readonly name: string; readonly through: SandboxState; readonly ask: () => Promise<NodeSandbox> },
): Promise<Sandbox> => {
  await context.db.transaction().execute(async (trx) => {
    await claimQuota(trx, row.project, demandToRun(row))
    await trx
      .updateTable('sandboxes')
      .set({ state: act.through, version: row.version + 1 })
      .where('id', '=', row.id)
      .where('version', '=', row.version)
      .execute()
  })
  context.owners.forget(row.id)
  try {
    const seen = await act.ask()
    await recordAct(context, caller, row.id, act.name)
    return viewSandbox(await applySeen(context, await findSandbox(context, caller, row.id), seen))
  } catch (error) {
    await probe(context, await findSandbox(context, caller, row.id))
    throw error
  }
}
