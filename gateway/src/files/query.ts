import { pathSchema } from '@atoll/protocol'
import { z } from 'zod'
import type { Call } from '../call.ts'
import { parse } from '../read-body.ts'

const flag = z
  .enum(['0', '1', 'false', 'true'])
  .transform((text) => (text === '1' || text === 'true' ? '1' : '0'))

const fields = {
  path: pathSchema,
  user: z.string().min(1).max(64),
  mode: z.string().regex(/^[0-7]{3,5}$/, 'must be an octal mode such as 0644'),
  parents: flag,
  recursive: flag,
  depth: z.string().regex(/^\d{1,4}$/, 'must be a whole number'),
  limit: z.string().regex(/^\d{1,7}$/, 'must be a whole number'),
}

type Field = keyof typeof fields

/** The query for the guest: `path` and the named options, checked; nothing else passes. */
export const fileQuery = (call: Call, options: readonly Exclude<Field, 'path' | 'user'>[]): string => {
  const passed = new URLSearchParams()
  for (const name of ['path', 'user', ...options] as const) {
    const value = call.query.get(name)
    if (value !== null || name === 'path')
      passed.set(
        name,
        parse(z.object({ [name]: fields[name] }), { [name]: value ?? '' }, 'query')[name] as string,
      )
  }
  return passed.toString()
}
