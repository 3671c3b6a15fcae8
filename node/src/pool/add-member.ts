import type { Context } from '../machines/context.ts'
import { freeMachine, settleMachine } from './begin.ts'
import { poolLimits } from './limits.ts'
import { type MachineKey, type Member, shelfOf, type Unclaimed } from './state.ts'

/** Freezes a machine and puts it at the end of its key's queue: its maker must not dispose it any more. */
export const addMember = async (
  context: Context,
  key: MachineKey,
  unclaimed: Unclaimed,
  signal: AbortSignal,
): Promise<void> => {
  const { machine, machineId } = unclaimed
  const usage = await machine.usage(signal).catch(() => undefined)
  // Frozen it takes nothing; at its claim it must not begin with the share of a fill.
  await machine.resize({ weight: 'normal' }, signal)
  await machine.freeze(signal)
  signal.throwIfAborted()
  settleMachine(context, machineId, 'ready', machine.record)
  const member: Member = {
    unclaimed,
    memoryBytes: usage?.memoryBytes || poolLimits.memberBytes,
    sinceMs: context.clock.monotonic(),
  }
  const shelf = shelfOf(context.pool, key)
  shelf.ready.push(member)
  void machine.exited.then(async () => {
    const index = shelf.ready.indexOf(member)
    if (index < 0 || context.closing.aborted) return
    shelf.ready.splice(index, 1)
    context.logger.warn({ machine: machineId }, 'a machine of the pool ended by itself')
    await freeMachine(context, machineId, machine)
    context.pool.wake()
  })
}
