import { expect, it } from 'vitest'
import { limits } from './limits.ts'
import { imageConfigSchema, stepSchema } from './template.ts'

const ready = (timeoutMs: number) => ({ type: 'ready', argv: ['true'], timeoutMs })

it('takes a ready step up to its maximum', () => {
  expect(stepSchema.safeParse(ready(limits.readyTimeoutMaxMs)).success).toBe(true)
  expect(stepSchema.safeParse(ready(limits.readyTimeoutMaxMs + 1)).error?.issues).toMatchObject([
    { code: 'too_big', path: ['timeoutMs'], maximum: limits.readyTimeoutMaxMs },
  ])
})

it('still reads a template that was built before there was a maximum', () => {
  const config = { ready: { argv: ['true'], timeoutMs: 600_000 } }
  expect(imageConfigSchema.parse(config)).toMatchObject(config)
})
