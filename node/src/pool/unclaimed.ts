import { AtollError } from '@atoll/protocol'
import { guestOf } from '../machines/boot.ts'
import type { Context } from '../machines/context.ts'
import type { Machine } from '../runtimes/driver.ts'
import { type Begun, freeMachine } from './begin.ts'
import type { Unclaimed } from './state.ts'

/** A machine that runs in a place that was begun, with its channel. */
export const unclaimedOf = (
  context: Context,
  { machineId, slot }: Pick<Begun, 'machineId' | 'slot'>,
  machine: Machine,
  timings: Readonly<Record<string, number>>,
): Unclaimed => {
  let owner: string | undefined
  const guest = guestOf(context, machine, () => owner)
  return {
    machineId,
    slot,
    machine,
    guest,
    timings,
    own: (sandboxId) => {
      owner = sandboxId
    },
    [Symbol.asyncDispose]: async () => {
      if (context.records.pool.has(machineId))
        guest.close(new AtollError('guest_unreachable', `machine ${machineId} was given up`))
      await freeMachine(context, machineId, machine)
    },
  }
}
