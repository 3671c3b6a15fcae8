import {
  createSandboxSchema,
  limits,
  receiptSchema,
  sandboxSchema,
  sandboxStateSchema,
} from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { createSandbox } from '../sandboxes/create.ts'
import { deleteSandbox } from '../sandboxes/delete.ts'
import { getSandbox } from '../sandboxes/get.ts'
import { listSandboxes } from '../sandboxes/list.ts'
import { newSandboxId } from '../sandboxes/new-id.ts'
import type { App } from './environment.ts'
import { projectOf } from './project-of.ts'
import { answers, body, idParams, pageQuery, security } from './shapes.ts'

const createRouteShape = createRoute({
  method: 'post',
  path: '/v1/sandboxes',
  security,
  summary: 'Create a sandbox; answers when it runs',
  request: { body: body(createSandboxSchema) },
  responses: answers(201, sandboxSchema, 'It runs'),
})

const listRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes',
  security,
  summary:
    'List sandboxes, newest first; `label.<key>=<value>` filters by label; ended ones only with state=ended',
  request: {
    query: pageQuery.extend({
      state: sandboxStateSchema.optional(),
      name: z.string().max(limits.nameLength).optional(),
      template: z.string().max(limits.nameLength).optional(),
      project: z.string().max(64).optional(),
    }),
  },
  responses: answers(
    200,
    z.object({ sandboxes: z.array(sandboxSchema), nextCursor: z.string().nullable() }),
    'A page',
  ),
})

const getRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes/{id}',
  security,
  summary: 'One sandbox, its state probed now; an ended one with its cause',
  request: { params: idParams },
  responses: answers(200, sandboxSchema, 'The sandbox'),
})

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/sandboxes/{id}',
  security,
  summary: 'End a sandbox from any state; again answers the same receipt',
  request: { params: idParams },
  responses: answers(
    200,
    z.object({ sandbox: sandboxSchema, receipt: receiptSchema }),
    'It is gone, and this was freed',
  ),
})

/** Create, list, get, delete. */
export const sandboxRoutes = (app: App, context: Context): void => {
  app.openapi(createRouteShape, async (c) => {
    const caller = c.get('caller')
    need(caller, 'sandboxes:write')
    const id = await c.get('subject')(newSandboxId(context))
    return c.json(await createSandbox(context, caller, c.req.valid('json'), id), 201)
  })
  app.openapi(listRoute, async (c) => {
    const caller = c.get('caller')
    need(caller, 'sandboxes:read')
    const { state, name, template, cursor, limit, project } = c.req.valid('query')
    const filter = { project: projectOf(caller, project), state, name, template, cursor, limit }
    return c.json(await listSandboxes(context, { ...filter, labels: labelsOf(c.req.query()) }), 200)
  })
  app.openapi(getRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    return c.json(await getSandbox(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(deleteRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    return c.json(await deleteSandbox(context, c.get('caller'), c.req.valid('param').id), 200)
  })
}

const labelPrefix = 'label.'

const labelsOf = (query: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(query)
      .filter(([name]) => name.startsWith(labelPrefix))
      .slice(0, limits.labelCount)
      .map(([name, value]) => [name.slice(labelPrefix.length), value]),
  )
