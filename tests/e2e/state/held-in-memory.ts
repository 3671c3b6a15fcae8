import { randomUUID } from 'node:crypto'
import type { Stack } from '../../stack/start-stack.ts'
import { call, expectStatus, run, until } from '../call.ts'

/** A process that has a number in its memory alone, and says it when it is asked: who still knows it was not booted. */
const holder = `
import os
held = os.urandom(16).hex()
os.mkfifo('/tmp/ask')
open('/tmp/holds', 'w').close()
while True:
    name = open('/tmp/ask').read().strip()
    with open('/tmp/said', 'w') as said: said.write(held)
    os.rename('/tmp/said', f'/tmp/answer-{name}')
`

type Where = Pick<Stack, 'url' | 'apiKey'>

/** Starts the holder and answers what it holds. */
export const holdInMemory = async (stack: Where, id: string): Promise<string> => {
  expectStatus(
    await call(stack, 'POST', `/v1/sandboxes/${id}/processes`, {
      body: { id: 'holder', argv: ['python3', '-c', holder] },
    }),
    [200, 201],
    'start the holder',
  )
  await until('the holder holds', 20_000, async () =>
    (await run(stack, id, ['test', '-e', '/tmp/holds'])).exit.code === 0 ? true : undefined,
  )
  return await heldInMemory(stack, id)
}

/** What the holder says now; the run fails within seconds where it is not there any more. */
export const heldInMemory = async (stack: Where, id: string): Promise<string> => {
  const name = randomUUID()
  const { stdout, stderr, exit } = await run(
    stack,
    id,
    [
      'timeout',
      '10',
      'sh',
      '-c',
      `echo ${name} > /tmp/ask; until test -e /tmp/answer-${name}; do sleep 0.02; done; cat /tmp/answer-${name}`,
    ],
    { timeoutMs: 20_000 },
  )
  if (exit.code !== 0) throw new Error(`the holder of ${id} does not answer: ${exit.code} ${stderr}`)
  return stdout
}
