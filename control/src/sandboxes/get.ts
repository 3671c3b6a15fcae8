import type { Sandbox } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { probe } from '../fleet/apply.ts'
import { findSandbox } from './find.ts'
import { viewSandbox } from './view.ts'

/** One sandbox: its state is what the node sees now, not what was written last (invariant 3). */
export const getSandbox = async (context: Context, caller: Caller, id: string): Promise<Sandbox> =>
  viewSandbox(await probe(context, await findSandbox(context, caller, id)))
