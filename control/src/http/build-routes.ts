import { buildSchema, buildTemplateSchema } from '@atoll/protocol'
import { createRoute } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { beginBuild, newBuildId } from '../templates/build.ts'
import { buildLogSource, cancelBuild, getBuild } from '../templates/builds.ts'
import type { App } from './environment.ts'
import { answers, body, idParams, lines, logQuery, security } from './shapes.ts'
import { streamLines } from './stream-lines.ts'

const beginRoute = createRoute({
  method: 'post',
  path: '/v1/templates/builds',
  security,
  summary: 'Begin to build a template; follow its log or ask for it',
  request: { body: body(buildTemplateSchema) },
  responses: answers(202, buildSchema, 'It runs'),
})

const getRoute = createRoute({
  method: 'get',
  path: '/v1/templates/builds/{id}',
  security,
  summary: 'One build',
  request: { params: idParams },
  responses: answers(200, buildSchema, 'The build'),
})

const logRoute = createRoute({
  method: 'get',
  path: '/v1/templates/builds/{id}/log',
  security,
  summary: 'Its log after a cursor (the count of lines that were read); follow=1 goes on until it ended',
  request: { params: idParams, query: logQuery },
  responses: lines('One event for each line'),
})

const cancelRoute = createRoute({
  method: 'delete',
  path: '/v1/templates/builds/{id}',
  security,
  summary: 'Cancel a build; one that ended stays as it ended',
  request: { params: idParams },
  responses: answers(200, buildSchema, 'How it ended'),
})

/** Builds of templates. */
export const buildRoutes = (app: App, context: Context): void => {
  app.openapi(beginRoute, async (c) => {
    need(c.get('caller'), 'templates:write')
    const id = await c.get('subject')(newBuildId(context))
    return c.json(await beginBuild(context, c.get('caller'), c.req.valid('json'), id), 202)
  })
  app.openapi(getRoute, async (c) => {
    need(c.get('caller'), 'templates:read')
    return c.json(await getBuild(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(logRoute, async (c) => {
    need(c.get('caller'), 'templates:read')
    const source = await buildLogSource(context, c.get('caller'), c.req.valid('param').id)
    return streamLines(context, c, source, c.req.valid('query'))
  })
  app.openapi(cancelRoute, async (c) => {
    need(c.get('caller'), 'templates:write')
    return c.json(await cancelBuild(context, c.get('caller'), c.req.valid('param').id), 200)
  })
}
