import type { Context } from '../machines/context.ts'
import { freeMachine } from './begin.ts'

/** Teardowns at a time. */
const drainsAtATime = 8

/** Frees every machine that nobody claimed: after an end that was meant nothing of ours is left on the host. */
export const drainPool = async (context: Context): Promise<void> => {
  const shelves = [...context.pool.shelves.values()]
  const frees = shelves.flatMap(({ ready, blanks }) => [
    ...ready.splice(0).map(
      ({ unclaimed }) =>
        () =>
          unclaimed[Symbol.asyncDispose](),
    ),
    ...blanks.splice(0).map(
      ({ machineId, blank }) =>
        () =>
          freeMachine(context, machineId, blank),
    ),
  ])
  for (let at = 0; at < frees.length; at += drainsAtATime)
    await Promise.allSettled(frees.slice(at, at + drainsAtATime).map((free) => free()))
}
