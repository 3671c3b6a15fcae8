import { askHealth } from '../guest/calls.ts'
import type { Context } from '../machines/context.ts'
import { machineLimits } from '../machines/limits.ts'
import type { PoolRecord } from '../records/pool.ts'
import { addMember } from './add-member.ts'
import { reapMachine } from './reap.ts'
import { parseKey, shelfOf } from './state.ts'
import { noteDemand } from './take.ts'
import { unclaimedOf } from './unclaimed.ts'

/**
 * After a daemon restart: members that are positively those that were left, of this boot and this runtime
 * version, with a guest that answers and is nobody's, are members again. All else is freed.
 */
export const recoverPool = async (context: Context): Promise<void> => {
  for (const row of context.records.pool.all()) {
    if (context.closing.aborted) return
    // Begun by this daemon in the meantime.
    if (context.pool.owned.has(row.machineId)) continue
    const isBack = row.role === 'ready' && (await takeBack(context, row))
    if (!isBack) await reapMachine(context, row)
  }
}

const takeBack = async (context: Context, row: PoolRecord): Promise<boolean> => {
  const { machineId, slot, machine: record, runtime, bootId } = row
  const key = parseKey(row.key)
  const driver = context.runtimes.driver(runtime)
  if (record === null || driver === undefined || key === undefined || bootId !== context.bootId) return false
  if (context.options.poolMax === 0) return false
  const signal = AbortSignal.any([context.closing, AbortSignal.timeout(machineLimits.bootMs)])
  context.pool.owned.add(machineId)
  try {
    const { version } = await context.runtimes.capabilities(runtime)
    if (record.version !== version) return false
    const machine = await driver.recover(record, signal)
    if (machine === undefined) return false
    const unclaimed = unclaimedOf(context, { machineId, slot }, machine, {})
    await machine.thaw(signal)
    const health = await askHealth(unclaimed.guest, machineLimits.probeMs)
    // One that was given to a sandbox whose record was never written is worth nothing.
    if (health.adopted || health.sandboxId !== null) return false
    await addMember(context, key, unclaimed, signal)
    // What was wanted before is forgotten with the daemon: that it is there says so.
    noteDemand(context, key)
    return true
  } catch (error) {
    context.logger.warn({ machine: machineId, err: error }, 'a machine of the pool could not be taken back')
    return false
  } finally {
    if (!shelfOf(context.pool, key).ready.some(({ unclaimed }) => unclaimed.machineId === machineId))
      context.pool.owned.delete(machineId)
  }
}
