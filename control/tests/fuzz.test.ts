import { errorBodySchema, isErrorCode } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { fakeNode } from './fake-node.ts'
import { bodyText, type Random, rng, valueFor } from './fuzz-values.ts'
import { recorder, startControl } from './start-control.ts'

/** Seconds of a longer run; without, a few tries for each route. */
const fuzzSeconds = Number(process.env['ATOLL_FUZZ_SECONDS'] ?? 0)
const triesPerRoute = 25

interface Operation {
  readonly method: string
  readonly path: string
  readonly body: Record<string, ReturnType<typeof JSON.parse>> | undefined
  readonly parameters: readonly {
    name: string
    in: string
    schema: Record<string, ReturnType<typeof JSON.parse>>
  }[]
}

type Stack = Awaited<ReturnType<typeof startControl>>

it(
  'answers whatever comes with the envelope, and never with a fault of ours',
  async () => {
    const node = fakeNode()
    const { logger, errors } = recorder()
    const limits = { keyRequestsPerSecond: 1e9, keyRequestsBurst: 1e9, failuresBurst: 1e9 }
    await using control = await startControl(node.api, { logger, limits })
    const document = await (await fetch(`${control.base}/v1/openapi.json`)).json()
    expect(document.openapi).toBe('3.1.0')
    const operations = operationsOf(document)
    expect(operations.length).toBeGreaterThan(20)
    const seed = Date.now() % 2 ** 31
    const random = rng(seed)
    const known = [(await control.call('POST', '/v1/sandboxes', {})).body['id'] as string]
    const until = Date.now() + fuzzSeconds * 1_000
    const seen = new Map<number, number>()
    let round = 0
    do {
      for (const operation of operations) {
        const status = await tryOnce(
          control,
          document,
          operation,
          random,
          known,
          `seed ${seed} round ${round}`,
        )
        seen.set(status, (seen.get(status) ?? 0) + 1)
      }
      round += 1
    } while (round < triesPerRoute || Date.now() < until)
    expect(errors).toEqual([])
    // It must have come through to where things happen, not only bounced at the door.
    expect(seen.get(201) ?? 0).toBeGreaterThan(0)
    expect(seen.get(400) ?? 0).toBeGreaterThan(0)
    expect((await control.call('GET', '/v1/sandboxes')).status).toBe(200)
    console.log(
      `fuzz: ${round} rounds of ${operations.length} operations, seed ${seed}, statuses ${JSON.stringify([...seen])}`,
    )
  },
  60_000 + fuzzSeconds * 2_000,
)

const operationsOf = (document: ReturnType<typeof JSON.parse>): Operation[] =>
  Object.entries<ReturnType<typeof JSON.parse>>(document.paths).flatMap(([path, methods]) =>
    Object.entries<ReturnType<typeof JSON.parse>>(methods)
      .filter(([, operation]) => operation['x-atoll-tier'] !== 'gateway')
      .map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        body: operation.requestBody?.content?.['application/json']?.schema,
        parameters: operation.parameters ?? [],
      })),
  )

const tryOnce = async (
  control: Stack,
  document: Record<string, unknown>,
  operation: Operation,
  random: Random,
  known: string[],
  where: string,
): Promise<number> => {
  let path = operation.path
  const query: string[] = []
  for (const parameter of operation.parameters) {
    const value = valueFor(parameter.schema, random, document)
    const text = toText(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))
    if (parameter.in === 'path')
      path = path.replace(`{${parameter.name}}`, random.chance(0.6) ? random.pick(known) : text || 'x')
    else if (parameter.name !== 'follow' && random.chance(0.5)) query.push(`${parameter.name}=${text}`)
  }
  if (random.chance(0.1))
    query.push(random.pick(['label.=x', 'label.a=%E0%A4%A', '%ff=1', 'x=%00', 'label.%00=%00']))
  const text =
    operation.body === undefined ? undefined : bodyText(valueFor(operation.body, random, document), random)
  const response = await control.raw(
    operation.method,
    path + (query.length > 0 ? `?${query.join('&')}` : ''),
    {
      ...(text === undefined ? {} : { body: text }),
      headers: {
        'content-type': random.chance(0.05) ? 'text/plain' : 'application/json',
        ...(random.chance(0.2)
          ? { 'idempotency-key': random.pick(['a', 'b', 'x'.repeat(200), 'k{}"']) }
          : {}),
      },
    },
  )
  const answer = await response.text()
  const told = `${where}: ${operation.method} ${path}?${query.join('&')} ${text?.slice(0, 300)} -> ${response.status} ${answer.slice(0, 300)}`
  expect(response.status, told).not.toBe(500)
  expect(response.headers.get('x-atoll-trace-id'), told).toMatch(/^[a-f0-9]{32}$/)
  if (response.status < 400) {
    const id = /"id":"(\w{4}[a-z2-7]{20})"/.exec(answer)?.[1]
    // Its own key would be revoked sooner or later, and all that follows would bounce at the door.
    const isOwnKey = id === `key_${control.key.slice(6, 26)}`
    if (id !== undefined && !isOwnKey && known.length < 200) known.push(id)
    return response.status
  }
  const error = errorBodySchema.safeParse(JSON.parse(answer))
  expect(error.success && isErrorCode(error.data.code) && error.data.traceId !== undefined, told).toBe(true)
  return response.status
}

const toText = (value: string): string => {
  try {
    return encodeURIComponent(value)
  } catch {
    return '%ED%A0%80'
  }
}
