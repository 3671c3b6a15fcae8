import { claimQuota, type Demand } from '../access/quota.ts'
import type { Context } from '../context.ts'
import { appendEvent } from '../events/append.ts'
import type { SandboxRow } from '../store/tables.ts'

/** Records new sandboxes of one project, all or none: quota, rows, labels and first events in one transaction. */
export const insertSandboxes = (context: Context, rows: readonly SandboxRow[]): Promise<void> =>
  context.db.transaction().execute(async (trx) => {
    const [first] = rows
    if (first === undefined) return
    await claimQuota(trx, first.project, demandOf(rows))
    await trx.insertInto('sandboxes').values(rows).execute()
    const pairs = rows.flatMap((row) =>
      Object.entries<string>(JSON.parse(row.labels)).map(([key, value]) => ({ sandbox: row.id, key, value })),
    )
    if (pairs.length > 0) await trx.insertInto('labels').values(pairs).execute()
    for (const row of rows) {
      const from = row.parent === null ? {} : { parent: row.parent }
      const event = { type: 'state.creating', atMs: row.created_at_ms, data: { by: row.created_by, ...from } }
      await appendEvent(trx, row.id, event, context.limits)
    }
  })

const demandOf = (rows: readonly SandboxRow[]): Demand => ({
  sandboxes: rows.length,
  cpuMillis: rows.reduce((sum, row) => sum + row.cpu_millis, 0),
  memoryMib: rows.reduce((sum, row) => sum + row.memory_mib, 0),
})
