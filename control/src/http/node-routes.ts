import { isolationSchema } from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import type { Context } from '../context.ts'
import type { App } from './environment.ts'
import { answers, security } from './shapes.ts'

const nodeRoute = createRoute({
  method: 'get',
  path: '/v1/node',
  security,
  summary: 'What this node can isolate with, strongest first, and why not where it cannot',
  responses: answers(
    200,
    z.object({
      name: z.string(),
      version: z.string(),
      runtimes: z.array(
        isolationSchema.extend({
          available: z.boolean(),
          reason: z.string().optional(),
          remedy: z.string().optional(),
        }),
      ),
      sandboxes: z.int(),
    }),
    'The node',
  ),
})

/** The node and its isolation (invariant 11). */
export const nodeRoutes = (app: App, context: Context): void => {
  app.openapi(nodeRoute, async (c) => {
    const info = await context.node.info(c.req.raw.signal)
    const runtimes = info.runtimes.map((runtime) => ({ ...runtime, notes: [...runtime.notes] }))
    return c.json({ ...info, runtimes }, 200)
  })
}
