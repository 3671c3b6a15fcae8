import type { Caller, Context } from '../context.ts'
import { appendEvent } from './append.ts'

/** Enters who did what to a sandbox into its log: the audit of acts that are not changes of state. */
export const recordAct = async (
  context: Context,
  caller: Caller,
  sandbox: string,
  act: string,
  data: Readonly<Record<string, unknown>> = {},
): Promise<void> => {
  const event = { type: `act.${act}`, atMs: context.clock.now(), data: { by: caller.key, ...data } }
  await context.db.transaction().execute((trx) => appendEvent(trx, sandbox, event, context.limits))
  context.hub.notify(sandbox)
}
