import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Stack, startStack } from '../stack/start-stack.ts'
import { call } from './call.ts'

// A stack of its own: failed authentication makes the server wary of the address.
let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

it.each([
  { what: 'a well-formed one', key: `atoll_${'a'.repeat(20)}_${'b'.repeat(52)}` },
  { what: 'one word', key: 'x' },
  { what: '5,000 letters', key: 'a'.repeat(5_000) },
  { what: 'null', key: 'null' },
  { what: 'the prefix alone', key: 'atoll_' },
])('a made-up key is refused: $what', async ({ key }) => {
  const answer = await call(stack, '/v1/sandboxes', { key })
  expect([401, 429, 431]).toContain(answer.status)
})

it('guessing is slowed down: after many failures the address is told to wait, and its good keys are not', async () => {
  const statuses: number[] = []
  for (let n = 0; n < 400 && !statuses.includes(429); n += 1)
    statuses.push((await call(stack, '/v1/sandboxes', { key: `atoll_${'a'.repeat(20)}_${n}` })).status)
  expect(statuses).toContain(429)
  expect((await call(stack, '/v1/sandboxes')).status).toBe(200)
  const fresh = await stack.atoll.keys.create({ name: 'fresh', scopes: ['sandboxes:read'] })
  expect((await call(stack, '/v1/sandboxes', { key: fresh.secret })).status, 'never seen before').toBe(200)
  const nearly = `${fresh.secret.slice(0, -1)}${fresh.secret.endsWith('a') ? 'q' : 'a'}`
  expect((await call(stack, '/v1/sandboxes', { key: nearly })).status, 'one letter off').toBe(429)
})
