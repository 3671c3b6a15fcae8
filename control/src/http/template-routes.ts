import { AtollError, templateIdSchema, templateSchema } from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { deleteTemplate } from '../templates/delete.ts'
import { listTemplates } from '../templates/list.ts'
import { findTemplate } from '../templates/resolve.ts'
import { viewTemplate } from '../templates/view.ts'
import type { App } from './environment.ts'
import { answers, idParams, pageQuery, security } from './shapes.ts'

const listRoute = createRoute({
  method: 'get',
  path: '/v1/templates',
  security,
  summary: 'List templates: own ones and shared ones',
  request: { query: pageQuery },
  responses: answers(
    200,
    z.object({ templates: z.array(templateSchema), nextCursor: z.string().nullable() }),
    'A page',
  ),
})

const getRoute = createRoute({
  method: 'get',
  path: '/v1/templates/{id}',
  security,
  summary: 'One template, by id or by its percent-encoded name',
  request: { params: idParams },
  responses: answers(200, templateSchema, 'The template'),
})

const deleteRoute = createRoute({
  method: 'delete',
  path: '/v1/templates/{id}',
  security,
  summary: 'Delete a template; its image goes with the last that stands on it',
  request: { params: idParams },
  responses: answers(200, z.object({ id: templateIdSchema, imageDeleted: z.boolean() }), 'It is gone'),
})

const uploadRoute = createRoute({
  method: 'put',
  path: '/v1/templates/uploads/{sha256}',
  security,
  summary: 'Upload an archive for builds; kept when its SHA-256 is the announced one',
  request: {
    params: z.object({ sha256: z.string().regex(/^[a-f0-9]{64}$/, 'must be 64 hex digits in lower case') }),
  },
  responses: answers(200, z.object({ sha256: z.string(), sizeBytes: z.number() }), 'It is kept'),
})

/** Templates and uploads. */
export const templateRoutes = (app: App, context: Context): void => {
  app.openapi(listRoute, async (c) => {
    need(c.get('caller'), 'templates:read')
    return c.json(await listTemplates(context, c.get('caller'), c.req.valid('query')), 200)
  })
  app.openapi(uploadRoute, async (c) => {
    need(c.get('caller'), 'templates:write')
    const { sha256 } = c.req.valid('param')
    const signal = AbortSignal.any([c.req.raw.signal, context.closed])
    const received = await context.node.receiveUpload(sha256, bounded(context, c.req.raw.body), signal)
    return c.json({ sha256, sizeBytes: received.sizeBytes }, 200)
  })
  app.openapi(getRoute, async (c) => {
    need(c.get('caller'), 'templates:read')
    return c.json(viewTemplate(await findTemplate(context, c.get('caller'), c.req.valid('param').id)), 200)
  })
  app.openapi(deleteRoute, async (c) => {
    need(c.get('caller'), 'templates:write')
    const gone = await deleteTemplate(context, c.get('caller'), c.req.valid('param').id)
    return c.json({ id: templateIdSchema.parse(gone.id), imageDeleted: gone.imageDeleted }, 200)
  })
}

const bounded = async function* (
  context: Context,
  body: ReadableStream<Uint8Array> | null,
): AsyncGenerator<Uint8Array> {
  let received = 0
  for await (const chunk of body ?? []) {
    received += chunk.length
    if (received > context.limits.uploadBytes)
      throw new AtollError('payload_too_large', `the upload is over ${context.limits.uploadBytes} bytes`)
    yield chunk
  }
}
