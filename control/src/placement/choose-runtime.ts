import { AtollError, isolationSchema, type Isolation, type RuntimeName } from '@atoll/protocol'
import type { Context } from '../context.ts'

/**
 * The isolation that a new sandbox gets: what was asked, or the strongest that the node has. Never a
 * weaker one than asked (invariant 11): the refusal carries the node's reason and remedy.
 */
export const chooseRuntime = async (context: Context, asked: RuntimeName | undefined): Promise<Isolation> => {
  const { runtimes } = await context.node.info()
  const fitting = runtimes.filter((runtime) => asked === undefined || runtime.runtime === asked)
  const chosen = fitting.find((runtime) => runtime.available)
  if (chosen !== undefined) return isolationSchema.parse(chosen)
  const refused = fitting[0]
  const what = asked === undefined ? 'a runtime' : `the runtime ${asked}`
  throw new AtollError(
    'runtime_unavailable',
    `cannot provide ${what} on this node: ${refused?.reason ?? 'the node has none'}`,
    { remedy: refused?.remedy ?? 'ask for another runtime, or see GET /v1/node for what the node has' },
  )
}
