import { createdKeySchema, createKeySchema, keySchema, sandboxIdSchema } from '@atoll/protocol'
import { createRoute, z } from '@hono/zod-openapi'
import { createKey, listKeys, revokeKey } from '../access/keys.ts'
import { signToken, tokenAccessSchema } from '../access/sandbox-token.ts'
import { need } from '../access/scope.ts'
import type { Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { controlLimits } from '../limits.ts'
import { findSandbox, refuseEnded } from '../sandboxes/find.ts'
import type { App } from './environment.ts'
import { projectOf } from './project-of.ts'
import { answers, body, idParams, pageQuery, security } from './shapes.ts'

const createKeyRoute = createRoute({
  method: 'post',
  path: '/v1/keys',
  security,
  summary: 'Make an API key; the secret is in this answer and nowhere else',
  request: { body: body(createKeySchema) },
  responses: answers(201, createdKeySchema, 'The key with its secret'),
})

const listKeysRoute = createRoute({
  method: 'get',
  path: '/v1/keys',
  security,
  summary: 'List keys, revoked ones too',
  request: { query: pageQuery.extend({ project: z.string().max(64).optional() }) },
  responses: answers(
    200,
    z.object({ keys: z.array(keySchema), nextCursor: z.string().nullable() }),
    'A page',
  ),
})

const revokeKeyRoute = createRoute({
  method: 'delete',
  path: '/v1/keys/{id}',
  security,
  summary: 'Revoke a key at once, with the tokens that it made',
  request: { params: idParams },
  responses: answers(200, keySchema, 'It is revoked'),
})

const tokenRoute = createRoute({
  method: 'post',
  path: '/v1/sandboxes/{id}/tokens',
  security,
  summary: "Make a token that is good for this sandbox's processes, files and terminals only",
  request: {
    params: idParams,
    body: body(
      z.object({
        ttlMs: z.int().min(controlLimits.tokenTtlMinMs).max(controlLimits.tokenTtlMaxMs),
        access: tokenAccessSchema,
      }),
    ),
  },
  responses: answers(
    201,
    z.object({
      token: z.string(),
      sandbox: sandboxIdSchema,
      access: tokenAccessSchema,
      expiresAtMs: z.number(),
    }),
    'The token',
  ),
})

/** Keys and tokens. */
export const accessRoutes = (app: App, context: Context): void => {
  app.openapi(createKeyRoute, async (c) => {
    need(c.get('caller'), 'keys:write')
    return c.json(await createKey(context, c.get('caller'), c.req.valid('json')), 201)
  })
  app.openapi(listKeysRoute, async (c) => {
    need(c.get('caller'), 'keys:write')
    const { project, cursor, limit } = c.req.valid('query')
    return c.json(await listKeys(context, projectOf(c.get('caller'), project), { cursor, limit }), 200)
  })
  app.openapi(revokeKeyRoute, async (c) => {
    need(c.get('caller'), 'keys:write')
    return c.json(await revokeKey(context, c.get('caller'), c.req.valid('param').id), 200)
  })
  app.openapi(tokenRoute, async (c) => {
    const { ttlMs, access } = c.req.valid('json')
    const caller = c.get('caller')
    need(caller, access === 'read' ? 'sandboxes:read' : 'sandboxes:write')
    const row = await findSandbox(context, caller, c.req.valid('param').id)
    refuseEnded(row, 'make a token for')
    const expiresAtMs = context.clock.now() + ttlMs
    const sandbox = sandboxIdSchema.parse(row.id)
    const token = signToken(context.tokenKey, { sandbox, access, expiresAtMs, key: caller.key })
    await recordAct(context, caller, row.id, 'token', { access, expiresAtMs })
    return c.json({ token, sandbox, access, expiresAtMs }, 201)
  })
}
