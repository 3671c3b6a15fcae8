import { AtollError } from '@atoll/protocol'
import { makeTemplate, mayHaveTemplate, openTemplate, templateId } from '../pool/make-template.ts'
import { keyText, type MachineKey, type Unclaimed } from '../pool/state.ts'
import { noteDemand } from '../pool/take.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { bootMachine } from './boot-machine.ts'
import { claim, type Obtained, type Prepare } from './claim.ts'
import type { Context } from './context.ts'
import { openImage } from './open-image.ts'
import { type MachinePlan, planKey, restoreMachine } from './restore-machine.ts'
import type { Runtime } from './runtimes.ts'

/** A machine to be had, however it comes: its image is opened only where the pool has none. */
export interface ObtainPlan extends Omit<MachinePlan, 'driver' | 'imagePath'> {
  readonly runtime: Runtime
  /** Names who wants it, in errors. */
  readonly what: string
  /** Boots on these files: neither the pool nor a template can help. */
  readonly disk?: MachineImage
  /** Longest for `prepare` where it takes more than an identity; ms. */
  readonly prepareMs?: number
}

/**
 * A machine for a sandbox: a frozen one of the pool, else the template's snapshot restored, else booted. It has
 * gone through `prepare` (its adoption) when this resolves; the caller disposes it unless a record names it.
 */
export const obtainMachine = async (
  context: Context,
  wanted: ObtainPlan,
  prepare: Prepare,
  signal: AbortSignal,
): Promise<Obtained> => {
  const { runtime, disk, what: _, ...rest } = wanted
  const plan = { ...rest, driver: runtime.driver }
  if (disk === undefined) {
    noteDemand(context, planKey(plan))
    const claimed = await claim(context, plan, prepare, signal)
    if (claimed !== undefined) return claimed
  }
  using _waits = waits(context)
  const imagePath = await openImage(context, runtime, wanted.imageDigest, signal)
  if (disk === undefined && (await awaitTemplate(context, runtime, planKey(plan), signal))) {
    const claimed = await claim(context, plan, prepare, signal)
    if (claimed !== undefined) return claimed
  }
  using place = await context.boots.enter(signal)
  if (place === undefined)
    throw new AtollError(
      'overloaded',
      `cannot create ${wanted.what}: ${context.options.bootQueue} are waiting; try again`,
    )
  return await make(context, { ...plan, imagePath }, wanted, prepare, signal)
}

/** While creates wait for more than a claim nothing is filled: they have the CPUs. */
const waits = (context: Context): Disposable => {
  context.pool.waiting++
  return {
    [Symbol.dispose]: () => {
      context.pool.waiting--
      context.pool.wake()
    },
  }
}

/** True when the snapshot had to be made now: the machine that it was made of may be in the pool. */
const awaitTemplate = async (
  context: Context,
  runtime: Runtime,
  key: MachineKey,
  signal: AbortSignal,
): Promise<boolean> => {
  if (!mayHaveTemplate(context, runtime, key)) return false
  const isMade = context.records.snapshots.get(templateId(key)) !== undefined
  if (isMade && !context.pool.making.has(keyText(key))) return false
  // Its failure is logged; this create boots then.
  await abortable(
    makeTemplate(context, runtime, key).catch(() => undefined),
    signal,
  )
  return true
}

const abortable = <Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> => {
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  if (signal.aborted) onAbort()
  return Promise.race([work, aborted.promise]).finally(() => signal.removeEventListener('abort', onAbort))
}

const make = async (
  context: Context,
  plan: MachinePlan,
  { runtime, disk }: ObtainPlan,
  prepare: Prepare,
  signal: AbortSignal,
): Promise<Obtained> => {
  const unclaimed = await restoreOrBoot(context, plan, runtime, disk, signal)
  try {
    const timings = { ...unclaimed.timings }
    await prepare(unclaimed, timings)
    signal.throwIfAborted()
    return { unclaimed, timings }
  } catch (error) {
    await unclaimed[Symbol.asyncDispose]()
    throw error
  }
}

/** A restore that fails costs a boot, not the create: the image of a template can always be made anew. */
const restoreOrBoot = async (
  context: Context,
  plan: MachinePlan,
  runtime: Runtime,
  disk: MachineImage | undefined,
  signal: AbortSignal,
): Promise<Unclaimed> => {
  const key = planKey(plan)
  if (disk === undefined && mayHaveTemplate(context, runtime, key)) {
    await using template = await openTemplate(context, runtime, key, signal)
    if (template !== undefined) {
      try {
        return await restoreMachine(context, { ...plan, image: template.image }, signal)
      } catch (error) {
        signal.throwIfAborted()
        context.logger.warn(
          { template: keyText(key), err: error },
          'a template could not be restored; booting',
        )
      }
    }
  }
  return await bootMachine(context, plan, signal, disk)
}
