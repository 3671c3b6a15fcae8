import type { Holder, Lifecycle } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { findSandbox, refuseEnded } from './find.ts'

/** What keeps a sandbox alive and what will happen when. An ended one answers with why it ended. */
export const explainLifecycle = async (context: Context, caller: Caller, id: string): Promise<Lifecycle> => {
  const row = await findSandbox(context, caller, id)
  if (row.state !== 'ended') return await context.node.lifecycle(id)
  const ended: { cause?: string; message?: string } = JSON.parse(row.ended ?? '{}')
  return {
    state: 'ended',
    holders: [],
    idleSinceMs: null,
    next: [],
    explanation: `it ended for ${ended.cause}: ${ended.message}`,
  }
}

/** Keeps a sandbox from being idle for a while; the same name again renews. */
export const holdSandbox = async (
  context: Context,
  caller: Caller,
  id: string,
  name: string,
  ttlMs: number,
): Promise<Holder> => {
  refuseEnded(await findSandbox(context, caller, id), 'hold')
  const holder = await context.node.hold(id, name, ttlMs)
  await recordAct(context, caller, id, 'hold', { name, ttlMs })
  return holder
}

/** Lets go. */
export const releaseSandbox = async (
  context: Context,
  caller: Caller,
  id: string,
  name: string,
): Promise<void> => {
  refuseEnded(await findSandbox(context, caller, id), 'release')
  await context.node.release(id, name)
  await recordAct(context, caller, id, 'release', { name })
}
