import type { ErrorBody, Exit, Receipt, RunResult, Sandbox } from '@atoll/protocol'
import type { Stack } from '../stack/start-stack.ts'

/** Longest wait for one plain answer, ms; streams take their own signal. */
const answerTimeoutMs = 60_000

export interface CallOptions {
  readonly body?: unknown
  readonly idempotencyKey?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
  readonly apiKey?: string
}

export interface Answer<Body> {
  readonly status: number
  readonly body: Body
}

type Where = Pick<Stack, 'url' | 'apiKey'>

/** One request as any HTTP client would send it: no retries, no SDK, so that a drill sees what the wire says. */
export const call = async <Body = unknown>(
  stack: Where,
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Answer<Body>> => {
  const answer = await open(stack, method, path, {
    ...options,
    signal: options.signal ?? AbortSignal.timeout(answerTimeoutMs),
  })
  const text = await answer.text()
  return { status: answer.status, body: (text === '' ? undefined : JSON.parse(text)) as Body }
}

/** The same, with the body left to the caller. */
export const open = async (
  stack: Where,
  method: string,
  path: string,
  options: CallOptions = {},
): Promise<Response> =>
  await fetch(`${stack.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${options.apiKey ?? stack.apiKey}`,
      ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
      ...options.headers,
    },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })

/** Creates a sandbox or says why not; small by default, so that many fit. */
export const createSandbox = async (
  stack: Where,
  body: Record<string, unknown> = {},
  idempotencyKey?: string,
): Promise<Sandbox> =>
  expectStatus(
    await call<Sandbox>(stack, 'POST', '/v1/sandboxes', {
      body,
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    }),
    [200, 201],
    'create',
  )

export const getSandbox = async (stack: Where, id: string): Promise<Sandbox> =>
  expectStatus(await call<Sandbox>(stack, 'GET', `/v1/sandboxes/${id}`), [200], `get ${id}`)

/** Answers the receipt: what the teardown really removed. */
export const deleteSandbox = async (stack: Where, id: string): Promise<Receipt> => {
  const answer = await call<Receipt | { receipt: Receipt }>(stack, 'DELETE', `/v1/sandboxes/${id}`)
  const body = expectStatus(answer, [200], `delete ${id}`)
  return 'receipt' in body ? body.receipt : body
}

/** Runs to the end and answers exit and output. */
export const run = async (
  stack: Where,
  id: string,
  argv: readonly string[],
  more: Record<string, unknown> = {},
): Promise<RunResult> =>
  expectStatus(
    await call<RunResult>(stack, 'POST', `/v1/sandboxes/${id}/processes?wait=1`, { body: { argv, ...more } }),
    [200],
    `run ${argv.join(' ')} in ${id}`,
  )

/** The success or an error that shows what the wire said. */
export const expectStatus = <Body>(answer: Answer<Body>, wanted: readonly number[], act: string): Body => {
  if (wanted.includes(answer.status)) return answer.body
  throw new Error(
    `${act}: answered ${answer.status} instead of ${wanted.join(' or ')}: ${JSON.stringify(answer.body)}`,
  )
}

/** Waits until the probe says what is wanted, at most `timeoutMs`; answers the sandbox as it then is. */
export const untilState = async (
  stack: Where,
  id: string,
  state: Sandbox['state'],
  timeoutMs = 20_000,
): Promise<Sandbox> =>
  await until(`${id} is ${state}`, timeoutMs, async () => {
    const answer = await call<Sandbox>(stack, 'GET', `/v1/sandboxes/${id}`)
    // A machine that does not answer is honestly not known for a moment.
    if (answer.status === 503) return undefined
    const sandbox = expectStatus(answer, [200], `get ${id}`)
    return sandbox.state === state ? sandbox : undefined
  })

/** Asks every 50 ms until there is an answer; says what it waited for when there is none in time. */
export const until = async <Value>(
  what: string,
  timeoutMs: number,
  look: () => Promise<Value | undefined> | Value | undefined,
): Promise<Value> => {
  const end = performance.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** An exit that is a plain success. */
export const isSuccess = (exit: Exit): boolean => exit.code === 0 && exit.signal === null
export type { ErrorBody }
