import { askContinue } from '../guest/calls.ts'
import type { Unclaimed } from '../pool/state.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { type AdoptReason, adopt, hostDeadlineOf, machineLimitsOf, round } from './boot.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'
import type { Owner } from './make-machine.ts'
import { openImage } from './open-image.ts'
import { restoreMachine } from './restore-machine.ts'
import type { Runtime } from './runtimes.ts'

/** A copy that runs as someone, and how it came. */
export interface Copy {
  readonly unclaimed: Unclaimed
  readonly timings: Record<string, number>
}

/**
 * Brings a saved memory back as `owner`: user code in it runs again only when it has that identity, verified
 * (invariant 12). Disposing the machine ends it unless a record names it by then.
 */
export const restoreCopy = async (
  context: Context,
  runtime: Runtime,
  owner: Owner,
  image: MachineImage,
  reason: AdoptReason,
  signal: AbortSignal,
): Promise<Copy> => {
  const { spec, lease } = owner
  const plan = {
    driver: runtime.driver,
    imageDigest: spec.imageDigest,
    imagePath: await openImage(context, runtime, spec.imageDigest, signal),
    hostname: spec.hostname,
    limits: machineLimitsOf({ spec }),
    deadline: hostDeadlineOf(lease),
    image,
  }
  const unclaimed = await restoreMachine(context, plan, signal)
  try {
    const began = context.clock.monotonic()
    await adopt(context, unclaimed.guest, owner, reason)
    const adopted = context.clock.monotonic()
    await askContinue(unclaimed.guest, machineLimits.guestReadyMs)
    signal.throwIfAborted()
    const timings = {
      ...unclaimed.timings,
      adoptMs: round(adopted - began),
      continueMs: round(context.clock.monotonic() - adopted),
    }
    return { unclaimed, timings }
  } catch (error) {
    await unclaimed[Symbol.asyncDispose]()
    throw error
  }
}
