import { createSnapshotSchema, limits, snapshotIdSchema, snapshotSchema } from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { createSnapshot, newSnapshotId } from '../snapshots/create.ts'
import { deleteSnapshot } from '../snapshots/delete.ts'
import { findReadySnapshot } from '../snapshots/find.ts'
import { listSnapshots } from '../snapshots/list.ts'
import { viewSnapshot } from '../snapshots/view.ts'
import type { App } from './environment.ts'
import { projectOf } from './project-of.ts'
import { answers, body, idParams, pageQuery, security } from './shapes.ts'

const createRouteShape = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/snapshots',
  security,
  summary: 'Save a running or paused sandbox, which goes on as it was',
  request: { params: idParams, body: body(createSnapshotSchema) },
  responses: answers(201, snapshotSchema, 'It is saved, and would survive a power cut'),
})

const listRoute = createRoute({
  method: 'get',
  path: '/v1/snapshots',
  security,
  summary: 'List snapshots, newest first',
  request: {
    query: pageQuery.extend({
      name: z.string().max(limits.nameLength).optional(),
      sandbox: z.string().max(limits.nameLength).optional(),
      project: z.string().max(64).optional(),
    }),
  },
  responses: answers(
    200,
    z.object({ snapshots: z.array(snapshotSchema), nextCursor: z.string().nullable() }),
    'A page',
  ),
})

const getRoute = createRoute({
  method: 'get',
  path: '/v1/snapshots/{id}',
  security,
  summary: 'One snapshot',
  request: { params: idParams },
  responses: answers(200, snapshotSchema, 'The snapshot'),
})

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/snapshots/{id}',
  security,
  summary: 'Delete a snapshot; sandboxes that were made from it go on',
  request: { params: idParams },
  responses: answers(200, z.object({ id: snapshotIdSchema, freedBytes: z.number() }), 'It is gone'),
})

/** Snapshots: create, list, get, delete. */
export const snapshotRoutes = (app: App, context: Context): void => {
  app.openapi(createRouteShape, async (c) => {
    const caller = c.get('caller')
    need(caller, 'sandboxes:write')
    const { id } = c.req.valid('param')
    const snapshot = await c.get('subject')(newSnapshotId(context))
    return c.json(await createSnapshot(context, caller, id, c.req.valid('json'), snapshot), 201)
  })
  app.openapi(listRoute, async (c) => {
    const caller = c.get('caller')
    need(caller, 'sandboxes:read')
    const { project, name, sandbox, cursor, limit } = c.req.valid('query')
    const filter = { project: projectOf(caller, project), name, sandbox, cursor, limit }
    return c.json(await listSnapshots(context, filter), 200)
  })
  app.openapi(getRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    const row = await findReadySnapshot(context, c.get('caller'), c.req.valid('param').id)
    return c.json(viewSnapshot(row), 200)
  })
  app.openapi(deleteRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const gone = await deleteSnapshot(context, c.get('caller'), c.req.valid('param').id)
    return c.json({ id: snapshotIdSchema.parse(gone.id), freedBytes: gone.freedBytes }, 200)
  })
}
