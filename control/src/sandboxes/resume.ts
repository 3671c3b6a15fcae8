import type { Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'
import { wake } from './wake.ts'

/** Brings a paused sandbox back as it was, and a stopped one by a boot on its disk. A running one is answered as it is. */
export const resumeSandbox = async (context: Context, caller: Caller, id: string): Promise<Sandbox> => {
  const found = await findSandbox(context, caller, id)
  return await context.turns.take(id, async () => {
    const row = await probe(context, found)
    refuseEnded(row, 'resume')
    if (row.state === 'stopped')
      return await wake(context, caller, row, {
        name: 'start',
        through: 'starting',
        ask: () => context.node.start(id),
      })
    const ask = () => context.node.resume(id, caller.key)
    if (row.state !== 'paused') return viewSandbox(await applySeen(context, row, await ask()))
    return await wake(context, caller, row, { name: 'resume', through: 'resuming', ask })
  })
}
