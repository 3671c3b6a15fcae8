import { limits, projectSchema, quotaSchema } from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { changeProject, createProject, listProjects } from '../access/projects.ts'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import type { App } from './environment.ts'
import { answers, body, idParams, pageQuery, security } from './shapes.ts'

const nameSchema = z.string().min(1).max(limits.nameLength)
const amountSchema = z.int().min(0).optional()

const createProjectRoute = createRoute({
  method: 'post',
  path: '/v1/projects',
  security,
  summary: 'Make a project (admin)',
  request: { body: body(z.object({ name: nameSchema, quota: quotaSchema.prefault({}) })) },
  responses: answers(201, projectSchema, 'The project'),
})

const listProjectsRoute = createRoute({
  method: 'get',
  path: '/v1/projects',
  security,
  summary: 'List projects (admin)',
  request: { query: pageQuery },
  responses: answers(
    200,
    z.object({ projects: z.array(projectSchema), nextCursor: z.string().nullable() }),
    'A page',
  ),
})

const changeProjectRoute = createRoute({
  method: 'patch',
  path: '/v1/projects/{id}',
  security,
  summary: 'Change name or quota (admin)',
  request: {
    params: idParams,
    body: body(
      z.object({
        name: nameSchema.optional(),
        quota: z
          .object({ sandboxes: amountSchema, cpuMillis: amountSchema, memoryMib: amountSchema })
          .optional(),
      }),
    ),
  },
  responses: answers(200, projectSchema, 'The project'),
})

/** Projects and their quotas. */
export const projectRoutes = (app: App, context: Context): void => {
  app.openapi(createProjectRoute, async (c) => {
    need(c.get('caller'), 'admin')
    const { name, quota } = c.req.valid('json')
    return c.json(await createProject(context, name, quota), 201)
  })
  app.openapi(listProjectsRoute, async (c) => {
    need(c.get('caller'), 'admin')
    return c.json(await listProjects(context, c.req.valid('query')), 200)
  })
  app.openapi(changeProjectRoute, async (c) => {
    need(c.get('caller'), 'admin')
    return c.json(await changeProject(context, c.req.valid('param').id, c.req.valid('json')), 200)
  })
}
