import { errorBodySchema, limits } from '@atoll/protocol'
import { z } from '@hono/zod-openapi'
import type { ZodType } from 'zod'

/** The answers of a route: one success and the envelope for everything else. */
export const answers = <Schema extends ZodType, Status extends 200 | 201 | 202>(
  status: Status,
  schema: Schema,
  description: string,
) =>
  ({
    [status]: { description, content: { 'application/json': { schema } } },
    default: refusal,
  }) as { [key in Status]: { description: string; content: { 'application/json': { schema: Schema } } } }

const refusal = {
  description: 'Refused or failed: code, message, and what to do',
  content: { 'application/json': { schema: errorBodySchema } },
}

/** A stream of lines. */
export const lines = (description: string) =>
  ({
    200: { description, content: { 'application/x-ndjson': { schema: z.string() } } },
    default: refusal,
  }) as { 200: { description: string } }

export const body = <Schema extends ZodType>(schema: Schema) => ({
  content: { 'application/json': { schema } },
  required: true,
})

/** Any text: an id that has not the form of one names nothing, and that is `not_found`. */
export const idParams = z.object({ id: z.string().min(1).max(limits.nameLength) })

export const flag = z.enum(['0', '1', 'false', 'true']).transform((text) => text === '1' || text === 'true')

export const pageQuery = z.object({
  cursor: z.string().max(256).optional(),
  limit: z.coerce.number().int().min(1).max(limits.listPageMax).default(limits.listPageDefault),
})

export const logQuery = z.object({
  after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  follow: flag.default(false),
})

export const security = [{ key: [] }]
