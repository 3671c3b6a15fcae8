import {
  holderSchema,
  idlePolicySchema,
  leaseActionSchema,
  lifecycleSchema,
  limits,
  sandboxSchema,
} from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { controlLimits } from '../limits.ts'
import { extendSandbox, leaseSandbox } from '../sandboxes/extend.ts'
import { explainLifecycle, holdSandbox, releaseSandbox } from '../sandboxes/lifecycle.ts'
import type { App } from './environment.ts'
import { answers, body, idParams, security } from './shapes.ts'

const extendRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/extend',
  security,
  summary: 'Move the deadline away; it never comes nearer, and the answer says what is in force',
  request: {
    params: idParams,
    body: body(z.object({ timeoutMs: z.int().min(limits.timeoutMinMs).max(limits.timeoutMaxMs) })),
  },
  responses: answers(200, sandboxSchema, 'With the deadline in force'),
})

const leaseRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/lease',
  security,
  summary: 'Change what idleness, the deadline and a call to a paused one do',
  request: {
    params: idParams,
    body: body(
      z.object({
        idle: idlePolicySchema.nullable().optional(),
        onTimeout: leaseActionSchema.optional(),
        autoResume: z.boolean().optional(),
      }),
    ),
  },
  responses: answers(200, sandboxSchema, 'With the lease in force'),
})

const lifecycleRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes/{id}/lifecycle',
  security,
  summary: 'What keeps it alive, and what will happen when',
  request: { params: idParams },
  responses: answers(200, lifecycleSchema, 'The explanation'),
})

const holderParams = idParams.extend({
  name: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 letters, digits, . _ or -'),
})

const holdRoute = createRoute({
  method: 'put',
  path: '/v1/sandboxes/{id}/holders/{name}',
  security,
  summary: 'Keep it from being idle for a while; again renews',
  request: {
    params: holderParams,
    body: body(
      z.object({ ttlMs: z.int().min(controlLimits.holderTtlMinMs).max(controlLimits.holderTtlMaxMs) }),
    ),
  },
  responses: answers(200, holderSchema, 'The holder'),
})

const releaseRoute = createRoute({
  method: 'delete',
  path: '/v1/sandboxes/{id}/holders/{name}',
  security,
  summary: 'Let go',
  request: { params: holderParams },
  responses: answers(200, z.object({}), 'It no longer holds'),
})

/** Deadlines, idleness and holders. */
export const leaseRoutes = (app: App, context: Context): void => {
  app.openapi(extendRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { timeoutMs } = c.req.valid('json')
    return c.json(await extendSandbox(context, c.get('caller'), c.req.valid('param').id, timeoutMs), 200)
  })
  app.openapi(leaseRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const change = c.req.valid('json')
    return c.json(await leaseSandbox(context, c.get('caller'), c.req.valid('param').id, change), 200)
  })
  app.openapi(lifecycleRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    return c.json(await explainLifecycle(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(holdRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { id, name } = c.req.valid('param')
    return c.json(await holdSandbox(context, c.get('caller'), id, name, c.req.valid('json').ttlMs), 200)
  })
  app.openapi(releaseRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { id, name } = c.req.valid('param')
    await releaseSandbox(context, c.get('caller'), id, name)
    return c.json({}, 200)
  })
}
