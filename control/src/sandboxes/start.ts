import type { Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import { findSandbox, refuseEnded } from './find.ts'
import { viewSandbox } from './view.ts'
import { wake } from './wake.ts'

/** Starts a stopped sandbox on its disk; CPU and memory count against the quota again. */
export const startSandbox = async (context: Context, caller: Caller, id: string): Promise<Sandbox> => {
  const found = await findSandbox(context, caller, id)
  return await context.turns.take(id, async () => {
    const row = await probe(context, found)
    refuseEnded(row, 'start')
    const ask = () => context.node.start(id)
    // The node answers a running one as it is, and says why a paused one is not started.
    if (row.state !== 'stopped') return viewSandbox(await applySeen(context, row, await ask()))
    return await wake(context, caller, row, { name: 'start', through: 'starting', ask })
  })
}
