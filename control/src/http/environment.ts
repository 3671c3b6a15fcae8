import type { HttpBindings } from '@hono/node-server'
import { AtollError } from '@atoll/protocol'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { ZodError } from 'zod'
import type { Caller } from '../context.ts'

/** What rides along with a request. */
export interface Environment {
  Bindings: Partial<HttpBindings>
  Variables: {
    traceId: string
    caller: Caller
    /** The id that this call's Idempotency-Key stands for, where the call makes a thing. */
    subject: (fresh: string) => Promise<string>
  }
}

export type App = OpenAPIHono<Environment>

/** A router whose schemas refuse with the one envelope and name the field. */
export const newApp = (): App =>
  new OpenAPIHono<Environment>({
    defaultHook: (result) => {
      if (!result.success) throw invalid(result.target, result.error)
    },
  })

/** What did not fit, by field path. The values stay out: they may be secrets. */
export const invalid = (where: string, error: ZodError): AtollError => {
  const issues = error.issues.slice(0, 8).map((issue) => ({
    path: issue.path.map(String).join('.'),
    message: issue.message,
  }))
  const text = issues.map((issue) => `${issue.path === '' ? where : issue.path}: ${issue.message}`).join('; ')
  return new AtollError('invalid_request', `the request does not fit: ${text}; see GET /v1/openapi.json`, {
    details: { where, issues },
  })
}
