import { beginMachine, freeMachine, settleMachine } from '../pool/begin.ts'
import type { Unclaimed } from '../pool/state.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { stages } from './boot.ts'
import type { Context } from './context.ts'
import { answering, type MachinePlan, planKey, specOf } from './restore-machine.ts'

/**
 * Boots a machine in a place of its own, on the files of a disk image where one is given; resolves when its
 * guest answers. As with a restored one, the caller adopts it and its record names it, or disposes it.
 */
export const bootMachine = async (
  context: Context,
  plan: MachinePlan,
  signal: AbortSignal,
  disk?: MachineImage,
): Promise<Unclaimed> => {
  signal.throwIfAborted()
  const { stage, timings } = stages(context)
  const { driver, deadline } = plan
  const begun = await beginMachine(context, planKey(plan))
  const { machineId } = begun
  await using stack = new AsyncDisposableStack()
  stack.defer(() => freeMachine(context, machineId))
  // Freed before its place is.
  const machine = stack.use(await driver.start(specOf(plan, begun), signal, disk))
  settleMachine(context, machineId, 'begun', machine.record)
  if (deadline !== null && deadline.action !== 'kill')
    await machine.setDeadline(deadline.unixMs, deadline.action, signal)
  stage('startMs')
  const unclaimed = await answering(context, begun, machine, timings, signal)
  stack.move()
  return unclaimed
}
