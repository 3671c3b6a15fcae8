import { forkResultSchema, forkSandboxSchema, pauseSandboxSchema, sandboxSchema } from '@atoll/protocol'
import { createRoute } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { forkSandbox } from '../sandboxes/fork.ts'
import { newSandboxId } from '../sandboxes/new-id.ts'
import { pauseSandbox } from '../sandboxes/pause.ts'
import { resumeSandbox } from '../sandboxes/resume.ts'
import { startSandbox } from '../sandboxes/start.ts'
import { stopSandbox } from '../sandboxes/stop.ts'
import type { App } from './environment.ts'
import { answers, body, idParams, security } from './shapes.ts'

const pauseRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/pause',
  security,
  summary:
    'Keep memory, processes and files as they are: `stored` on disk, acknowledged once durable, or `frozen` in memory',
  request: { params: idParams, body: body(pauseSandboxSchema) },
  responses: answers(200, sandboxSchema, 'It is paused, at this depth'),
})

const resumeRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/resume',
  security,
  summary:
    'Bring a paused sandbox back as it was, a stopped one by a boot; a running one is answered as it is',
  request: { params: idParams },
  responses: answers(200, sandboxSchema, 'It runs'),
})

const forkRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/fork',
  security,
  summary: 'Copy a sandbox with memory, processes and files; each child has an identity of its own',
  request: { params: idParams, body: body(forkSandboxSchema) },
  responses: answers(201, forkResultSchema, 'One answer for each child'),
})

const stopRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/stop',
  security,
  summary: 'Keep the disk, free the rest',
  request: { params: idParams },
  responses: answers(200, sandboxSchema, 'It is stopped'),
})

const startRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/start',
  security,
  summary: 'Start a stopped sandbox on its disk',
  request: { params: idParams },
  responses: answers(200, sandboxSchema, 'It runs'),
})

/** Pause, resume, fork, stop, start. */
export const stateRoutes = (app: App, context: Context): void => {
  app.openapi(pauseRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { depth } = c.req.valid('json')
    return c.json(await pauseSandbox(context, c.get('caller'), c.req.valid('param').id, depth), 200)
  })
  app.openapi(resumeRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    return c.json(await resumeSandbox(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(forkRoute, async (c) => {
    const caller = c.get('caller')
    need(caller, 'sandboxes:write')
    const { id } = c.req.valid('param')
    const seed = await c.get('subject')(newSandboxId(context))
    return c.json(await forkSandbox(context, caller, id, c.req.valid('json'), seed), 201)
  })
  app.openapi(stopRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    return c.json(await stopSandbox(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(startRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    return c.json(await startSandbox(context, c.get('caller'), c.req.valid('param').id), 200)
  })
}
