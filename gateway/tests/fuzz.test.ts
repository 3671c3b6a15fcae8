import { connect } from 'node:net'
import { errorBodySchema, isErrorCode } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { routes } from '../src/routes.ts'
import { startStack } from './start-stack.ts'

/** Seconds of a longer run; without, a few tries for each route. */
const fuzzSeconds = Number(process.env['ATOLL_FUZZ_SECONDS'] ?? 0)
const triesPerRoute = 20

const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)] as T

const words = [
  '',
  '/',
  '/tmp/a',
  '../..',
  '%00',
  '%ff',
  '%E0%A4%A',
  'a b',
  '-1',
  '1e9',
  '0644',
  '99999',
  'x'.repeat(5_000),
]
const values: readonly unknown[] = [
  null,
  0,
  -1,
  1.5,
  2 ** 60,
  '',
  'a',
  '\0',
  '\ud800',
  [],
  {},
  [[]],
  'SIGKILL',
  '/tmp/f',
  true,
]
const fields = [
  'argv',
  'shell',
  'env',
  'cwd',
  'user',
  'stdin',
  'input',
  'terminal',
  'timeoutMs',
  'path',
  'from',
  'to',
  'recursive',
  'signal',
  'tree',
  'columns',
  'rows',
  'mode',
  'id',
  '__proto__',
]
const bodies = [
  '',
  '{',
  'null',
  '[]',
  '{"argv":["true"]}',
  '{"path":"/tmp/f","recursive":true}',
  '{"from":"/a","to":"/b"}',
  '{"argv":["echo","x"],"input":"AAAA"}',
]

const body = (): string =>
  Math.random() < 0.4
    ? pick(bodies)
    : JSON.stringify(
        Object.fromEntries(Array.from({ length: 1 + Math.random() * 4 }, () => [pick(fields), pick(values)])),
      )

it(
  'answers whatever comes to every route with the envelope, and logs no fault',
  async () => {
    await using stack = await startStack({ limits: { guestSilenceMs: 1_000 } })
    await stack.call('POST', '/processes', { id: 'p', argv: ['sleep', '1000'] })
    const until = Date.now() + fuzzSeconds * 1_000
    let rounds = 0
    const seen = new Map<number, number>()
    do {
      for (const name of Object.keys(routes)) {
        if (name.endsWith('/wait') || name.endsWith('/watch')) continue
        const [method = '', route = ''] = name.split(' ')
        const process = Math.random() < 0.7 ? pick(['p', 'a']) : encodeURIComponent(pick(words))
        const query = ['path', 'user', 'mode', 'offset', 'limit', 'close', 'token', 'wait']
          .filter(() => Math.random() < 0.4)
          .map((field) => `${field}=${pick(words)}`)
        const path = `/${route.replace('*', process)}?${query.join('&')}`
        const text = method === 'GET' ? null : body()
        const accept = pick(['*/*', 'application/x-ndjson', 'application/octet-stream'])
        const response = await stack.raw(method, stack.home + path, text, {
          accept,
          range: pick(['bytes=0-', 'bytes=9-1', 'x']),
        })
        const answer = await response.text()
        const told = `${method} ${path} ${text} -> ${response.status} ${answer.slice(0, 300)}`
        seen.set(response.status, (seen.get(response.status) ?? 0) + 1)
        expect(response.status, told).not.toBe(500)
        if (response.status < 400) continue
        const error = errorBodySchema.safeParse(JSON.parse(answer))
        expect(error.success && isErrorCode(error.data.code) && error.data.traceId !== undefined, told).toBe(
          true,
        )
      }
      rounds += 1
    } while (rounds < triesPerRoute || Date.now() < until)
    expect((await stack.call('GET', '/metrics')).status).toBe(200)
    expect(seen.get(400) ?? 0).toBeGreaterThan(0)
    console.log(`fuzz: ${rounds} rounds, statuses ${JSON.stringify([...seen])}`)
  },
  60_000 + fuzzSeconds * 2_000,
)

it('lives through broken HTTP', async () => {
  await using stack = await startStack()
  const head = `PUT ${stack.home}/files?path=/tmp/x HTTP/1.1\r\nhost: x\r\nauthorization: ${stack.authorization}\r\n`
  for (const rest of [
    'content-length: 10\r\ncontent-length: 20\r\n\r\nabc',
    'content-length: -1\r\n\r\n',
    'content-length: 99999999999999999999\r\n\r\n',
    'transfer-encoding: chunked\r\n\r\nZZ\r\n',
    'transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n',
    `x: ${'y'.repeat(100_000)}\r\n\r\n`,
    'upgrade: websocket\r\nconnection: upgrade\r\n\r\n',
  ]) {
    const socket = connect(stack.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    socket.end(head + rest)
    await new Promise<void>((resolve) => void socket.once('close', () => resolve()))
  }
  expect((await stack.call('GET', '/files/stat?path=/tmp/x')).body.code).toBe('path_not_found')
})
