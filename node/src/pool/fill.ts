import { bootMachine } from '../machines/boot-machine.ts'
import type { Context } from '../machines/context.ts'
import { beginBlank, type MachinePlan, planKey, restoreMachine } from '../machines/restore-machine.ts'
import type { Runtime } from '../machines/runtimes.ts'
import { addMember } from './add-member.ts'
import { freeMachine, settleMachine } from './begin.ts'
import { poolLimits } from './limits.ts'
import { makeTemplate, mayHaveTemplate, openTemplate, templateId, unclaimedPlan } from './make-template.ts'
import type { Shelf } from './state.ts'

/** Makes one member of a shelf: restored from the template's snapshot, which is made first, or booted. */
export const fillMember = async (context: Context, { key }: Shelf, runtime: Runtime): Promise<void> => {
  const signal = fillSignal(context)
  const isMade = context.records.snapshots.get(templateId(key)) !== undefined
  // Of the boot that it is made of comes a member, too.
  if (!isMade && mayHaveTemplate(context, runtime, key)) return await makeTemplate(context, runtime, key)
  const plan = await unclaimedPlan(context, runtime, key, signal)
  await using stack = new AsyncDisposableStack()
  const unclaimed = stack.use(await restoreOrBoot(context, plan, runtime, signal))
  await addMember(context, key, unclaimed, signal)
  stack.move()
}

const restoreOrBoot = async (context: Context, plan: MachinePlan, runtime: Runtime, signal: AbortSignal) => {
  const key = planKey(plan)
  await using template = mayHaveTemplate(context, runtime, key)
    ? await openTemplate(context, runtime, key, signal)
    : undefined
  if (template === undefined) return await bootMachine(context, plan, signal)
  return await restoreMachine(context, { ...plan, image: template.image, takesBlank: false }, signal)
}

/** Makes one place that waits for an image. */
export const fillBlank = async (context: Context, shelf: Shelf, runtime: Runtime): Promise<void> => {
  const signal = fillSignal(context)
  const waiting = await beginBlank(context, await unclaimedPlan(context, runtime, shelf.key, signal), signal)
  try {
    await waiting.blank.freeze(signal)
    signal.throwIfAborted()
    settleMachine(context, waiting.machineId, 'blank', waiting.blank.record)
  } catch (error) {
    await freeMachine(context, waiting.machineId, waiting.blank)
    throw error
  }
  shelf.blanks.push(waiting)
  void waiting.blank.exited.then(async () => {
    const index = shelf.blanks.indexOf(waiting)
    if (index < 0 || context.closing.aborted) return
    shelf.blanks.splice(index, 1)
    await freeMachine(context, waiting.machineId, waiting.blank)
  })
}

const fillSignal = (context: Context): AbortSignal =>
  AbortSignal.any([context.closing, AbortSignal.timeout(poolLimits.fillMs)])
