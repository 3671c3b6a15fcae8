import { AtollError } from '@atoll/protocol'
import type { MiddlewareHandler } from 'hono'
import { authenticate, type Gates } from '../access/authenticate.ts'
import type { Context } from '../context.ts'
import { accessRoutes } from './access-routes.ts'
import { limitBody } from './body-limit.ts'
import { buildRoutes } from './build-routes.ts'
import { type App, type Environment, newApp } from './environment.ts'
import { eventRoutes } from './event-routes.ts'
import { answerFailure } from './failure.ts'
import { describeGuestPaths } from './guest-paths.ts'
import { idempotency } from './idempotency.ts'
import { leaseRoutes } from './lease-routes.ts'
import { nodeRoutes } from './node-routes.ts'
import { portRoutes } from './port-routes.ts'
import { projectRoutes } from './project-routes.ts'
import { sandboxRoutes } from './sandbox-routes.ts'
import { snapshotRoutes } from './snapshot-routes.ts'
import { stateRoutes } from './state-routes.ts'
import { templateRoutes } from './template-routes.ts'

const uploadPath = '/v1/templates/uploads/'

/** Control's HTTP face: who calls, once or again, then the route. */
export const controlApp = (context: Context, gates: Gates): App => {
  const app = newApp()
  app.onError((thrown, c) => answerFailure(context, c, thrown))
  app.notFound((c) => {
    const error = new AtollError(
      'not_found',
      `no route ${c.req.method} ${c.req.path}; see GET /v1/openapi.json`,
    )
    return answerFailure(context, c, error)
  })
  app.use('*', trace(context))
  app.get('/v1/health', (c) => c.json({ status: 'ok' }))
  app.use('/v1/*', identify(context, gates))
  app.use('/v1/*', unlessUpload(limitBody))
  app.use('/v1/*', unlessUpload(idempotency(context)))
  for (const routes of [
    sandboxRoutes,
    stateRoutes,
    leaseRoutes,
    snapshotRoutes,
    eventRoutes,
    portRoutes,
    accessRoutes,
    projectRoutes,
    templateRoutes,
    buildRoutes,
    nodeRoutes,
  ])
    routes(app, context)
  describeGuestPaths(app)
  app.openAPIRegistry.registerComponent('securitySchemes', 'key', { type: 'http', scheme: 'bearer' })
  app.doc31('/v1/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Atoll', version: '1' },
  })
  return app
}

const trace =
  (context: Context): MiddlewareHandler<Environment> =>
  async (c, next) => {
    const traceId = Buffer.from(context.random(16)).toString('hex')
    c.set('traceId', traceId)
    c.set('subject', (fresh) => Promise.resolve(fresh))
    await next()
    c.res.headers.set('x-atoll-trace-id', traceId)
    c.res.headers.set('x-content-type-options', 'nosniff')
    c.res.headers.set('cache-control', 'no-store')
  }

const openPaths = new Set(['/v1/health', '/v1/openapi.json'])

const identify =
  (context: Context, gates: Gates): MiddlewareHandler<Environment> =>
  async (c, next) => {
    if (!openPaths.has(c.req.path)) {
      const remoteAddress = c.env?.incoming?.socket.remoteAddress ?? 'unknown'
      c.set('caller', await authenticate(context, gates, c.req.header('authorization'), remoteAddress))
    }
    await next()
  }

const unlessUpload =
  (inner: MiddlewareHandler): MiddlewareHandler =>
  async (c, next) =>
    c.req.path.startsWith(uploadPath) ? await next() : await inner(c, next)
