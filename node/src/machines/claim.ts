import { AtollError } from '@atoll/protocol'
import { poolLimits } from '../pool/limits.ts'
import type { Unclaimed } from '../pool/state.ts'
import { isStocked, take } from '../pool/take.ts'
import { closeOnAbort, round } from './boot.ts'
import type { Context } from './context.ts'
import { type MachinePlan, planKey, resizable } from './restore-machine.ts'

/** What is done with a machine before it counts as had: its identity, mostly. */
export type Prepare = (unclaimed: Unclaimed, timings: Record<string, number>) => Promise<void>

/** A machine of its own, and how it was had. */
export interface Obtained {
  readonly unclaimed: Unclaimed
  readonly timings: Record<string, number>
}

/** What a claim must know. */
export interface ClaimPlan extends Pick<MachinePlan, 'driver' | 'imageDigest' | 'limits' | 'deadline'> {
  /** Longest for `prepare` where it takes more than an identity; ms. */
  readonly prepareMs?: number
}

/**
 * Takes a frozen machine of the pool and gives it its identity, while the host thaws it and sets limits and
 * deadline. One that fails is destroyed and the next is taken; undefined when there is none.
 */
export const claim = async (
  context: Context,
  plan: ClaimPlan,
  prepare: Prepare,
  signal: AbortSignal,
): Promise<Obtained | undefined> => {
  const key = planKey(plan)
  if (!isStocked(context, key)) return undefined
  // One more than may wait goes at once: the gate is for order, not for safety.
  using _turn = await context.claims.enter(signal)
  for (let tried = 0; tried < poolLimits.claimTries; tried++) {
    const unclaimed = take(context, key)
    if (unclaimed === undefined) return undefined
    try {
      return await give(context, unclaimed, plan, prepare, signal)
    } catch (error) {
      // Not waited for: it is nobody's, and the next one is there.
      void unclaimed[Symbol.asyncDispose]()
      signal.throwIfAborted()
      if (isCallers(error)) throw error
      context.logger.warn(
        { machine: unclaimed.machineId, err: error },
        'a machine of the pool failed its claim',
      )
    }
  }
  return undefined
}

const give = async (
  context: Context,
  unclaimed: Unclaimed,
  plan: ClaimPlan,
  prepare: Prepare,
  outer: AbortSignal,
): Promise<Obtained> => {
  const { machine } = unclaimed
  const timings: Record<string, number> = {}
  const began = context.clock.monotonic()
  const signal = AbortSignal.any([outer, AbortSignal.timeout(plan.prepareMs ?? poolLimits.claimMs)])
  using _giveUp = closeOnAbort(signal, unclaimed.guest, `the claim of ${unclaimed.machineId} was given up`)
  const { deadline } = plan
  const dead = machine.exited.then(({ message }) => {
    throw new AtollError('guest_unreachable', `machine ${unclaimed.machineId} ended at its claim: ${message}`)
  })
  // What is asked of a frozen guest waits in its stream: it is the first that it reads.
  const had = Promise.all([
    machine.thaw(signal).then(() => {
      timings['thawMs'] = round(context.clock.monotonic() - began)
    }),
    prepare(unclaimed, timings),
    machine.resize(resizable({ limits: plan.limits }), signal),
    deadline === null ? undefined : machine.setDeadline(deadline.unixMs, deadline.action, signal),
  ])
  await Promise.race([had, dead])
  signal.throwIfAborted()
  timings['claimMs'] = round(context.clock.monotonic() - began)
  return { unclaimed, timings }
}

/** What the machine itself answers, though the table takes it for the caller's: it died, or is too slow. */
const ofTheMachine: ReadonlySet<string> = new Set(['not_adopted', 'canceled', 'sandbox_ended'])

/** What the next machine would answer as well: what was asked is at fault, not the machine. */
const isCallers = (error: unknown): boolean =>
  error instanceof AtollError && error.status < 500 && !ofTheMachine.has(error.code)
