import { AtollError } from '@atoll/protocol'
import type { Transaction } from 'kysely'
import type { SandboxRow, Tables } from '../store/tables.ts'

export interface Demand {
  readonly sandboxes: number
  readonly cpuMillis: number
  readonly memoryMib: number
}

/**
 * Refuses what would be over the project's quota. Inside the transaction that takes it up: the first
 * statement locks the project's row, so that two creations at once cannot both take the last place.
 */
export const claimQuota = async (
  trx: Transaction<Tables>,
  project: string,
  demand: Demand,
): Promise<void> => {
  const quota = await trx
    .updateTable('projects')
    .set((eb) => ({ version: eb('version', '+', 1) }))
    .where('id', '=', project)
    .returningAll()
    .executeTakeFirstOrThrow()
  const rows = await trx
    .selectFrom('sandboxes')
    .select((eb) => [
      'state',
      'depth',
      eb.fn.countAll<number>().as('sandboxes'),
      eb.fn.sum<number>('cpu_millis').as('cpuMillis'),
      eb.fn.sum<number>('memory_mib').as('memoryMib'),
    ])
    .where('project', '=', project)
    .where('state', '!=', 'ended')
    .groupBy(['state', 'depth'])
    .execute()
  const used = { sandboxes: 0, cpuMillis: 0, memoryMib: 0 }
  for (const row of rows) {
    used.sandboxes += Number(row.sandboxes)
    const held = heldBy(row)
    if (held.cpu) used.cpuMillis += Number(row.cpuMillis)
    if (held.memory) used.memoryMib += Number(row.memoryMib)
  }
  const granted = {
    sandboxes: quota.quota_sandboxes,
    cpuMillis: quota.quota_cpu_millis,
    memoryMib: quota.quota_memory_mib,
  }
  for (const name of ['sandboxes', 'cpuMillis', 'memoryMib'] as const) {
    if (used[name] + demand[name] <= granted[name]) continue
    throw new AtollError(
      'quota_exceeded',
      `cannot take ${demand[name]} ${name} for project ${project}: ${used[name]} of ${granted[name]} are in use; delete a sandbox or ask an admin for more`,
      { details: { limit: name, used: used[name], granted: granted[name], asked: demand[name] } },
    )
  }
}

/** What a state keeps of the quota besides its place: a stopped or stored one its disk only, a frozen one its memory. */
export const heldBy = ({ state, depth }: Pick<SandboxRow, 'state' | 'depth'>) => ({
  cpu: state !== 'stopped' && state !== 'paused',
  memory: state !== 'stopped' && !(state === 'paused' && depth === 'stored'),
})

/** What it takes of the quota when it runs again. */
export const demandToRun = (row: SandboxRow): Demand => {
  const held = heldBy(row)
  return {
    sandboxes: 0,
    cpuMillis: held.cpu ? 0 : row.cpu_millis,
    memoryMib: held.memory ? 0 : row.memory_mib,
  }
}
