import {
  createPortLinkSchema,
  errorBodySchema,
  portLinkSchema,
  portNumberSchema,
  portSchema,
  setPortSchema,
} from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { linkPort } from '../ports/link.ts'
import { getPort, listPorts, setPort } from '../ports/settings.ts'
import type { App } from './environment.ts'
import { answers, body, idParams, security } from './shapes.ts'

const portParams = idParams.extend({ port: z.coerce.number().pipe(portNumberSchema) })

const listRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes/{id}/ports',
  security,
  summary: 'The ports whose settings are not the default, which is private',
  request: { params: idParams },
  responses: answers(200, z.object({ ports: z.array(portSchema) }), 'At most 100'),
})

const getRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes/{id}/ports/{port}',
  security,
  summary: 'Where a port is, and who may reach it',
  request: { params: portParams },
  responses: answers(200, portSchema, 'The port, whether or not something listens'),
})

const setRoute = createRoute({
  method: 'put',
  path: '/v1/sandboxes/{id}/ports/{port}',
  security,
  summary: 'Set who may reach a port; what is no longer allowed is cut',
  request: { params: portParams, body: body(setPortSchema) },
  responses: answers(200, portSchema, 'The settings in force'),
})

const linkRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/ports/{port}/links',
  security,
  summary: 'Make a link that opens this port, and nothing else, for a while',
  request: { params: portParams, body: body(createPortLinkSchema) },
  responses: answers(201, portLinkSchema, 'The link and the token in it'),
})

/** Who may reach the ports of a sandbox. */
export const portRoutes = (app: App, context: Context): void => {
  app.openapi(listRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    return c.json({ ports: await listPorts(context, c.get('caller'), c.req.valid('param').id) }, 200)
  })
  app.openapi(getRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    const { id, port } = c.req.valid('param')
    return c.json(await getPort(context, c.get('caller'), id, port), 200)
  })
  app.openapi(setRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { id, port } = c.req.valid('param')
    return c.json(await setPort(context, c.get('caller'), id, port, c.req.valid('json')), 200)
  })
  app.openapi(linkRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:write')
    const { id, port } = c.req.valid('param')
    return c.json(await linkPort(context, c.get('caller'), id, port, c.req.valid('json')), 201)
  })
  describeTunnel(app)
}

/** Served by the gateway; described here, so that one document holds the whole API. */
const describeTunnel = (app: App): void => {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/v1/sandboxes/{id}/ports/{port}/tunnel',
    summary: 'A TCP connection to a port, over a WebSocket with the subprotocol atoll.tunnel',
    security,
    'x-atoll-tier': 'gateway',
    request: { params: portParams },
    responses: {
      101: { description: 'Binary messages are bytes; text is {"type":"end"} or {"type":"taken","bytes"}' },
      default: {
        description: 'Refused or failed',
        content: { 'application/json': { schema: errorBodySchema } },
      },
    },
  })
}
