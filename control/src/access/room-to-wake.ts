import type { Context } from '../context.ts'
import { readSandbox } from '../sandboxes/find.ts'
import { claimQuota, demandToRun } from './quota.ts'

/**
 * Refuses a call that would wake a paused sandbox over its project's quota: the node wakes by itself, and knows
 * no quota. Nothing is reserved: calls to several paused ones at the same instant may together go over it.
 */
export const refuseWithoutRoom = async (context: Context, sandbox: string): Promise<void> => {
  const row = await readSandbox(context, sandbox)
  if (row?.state !== 'paused' || row.auto_resume !== 1) return
  await context.db.transaction().execute((trx) => claimQuota(trx, row.project, demandToRun(row)))
}
