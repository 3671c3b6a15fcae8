import { createRoute } from '@hono/zod-openapi'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import type { LogSource } from '../events/lines.ts'
import { readEvents } from '../events/read.ts'
import { findSandbox, readSandbox } from '../sandboxes/find.ts'
import type { App } from './environment.ts'
import { idParams, lines, logQuery, security } from './shapes.ts'
import { streamLines } from './stream-lines.ts'

const eventsRoute = createRoute({
  method: 'get',
  path: '/v1/sandboxes/{id}/events',
  security,
  summary: 'The ordered log of a sandbox after a cursor; follow=1 goes on until it ended',
  request: { params: idParams, query: logQuery },
  responses: lines('One event for each line; {"type":"heartbeat"} in silence'),
})

/** A sandbox's log. */
export const eventRoutes = (app: App, context: Context): void => {
  app.openapi(eventsRoute, async (c) => {
    need(c.get('caller'), 'sandboxes:read')
    const { id } = await findSandbox(context, c.get('caller'), c.req.valid('param').id)
    return streamLines(context, c, sourceOf(context, id), c.req.valid('query'))
  })
}

const sourceOf = (context: Context, id: string): LogSource => ({
  name: id,
  async page(after) {
    const events = await readEvents(context, id, after)
    return events.map((event) => ({ seq: event.seq, line: JSON.stringify(event) }))
  },
  async finished() {
    const row = await readSandbox(context, id)
    return row === undefined || row.state === 'ended'
  },
})
