import { once } from 'node:events'
import { connect } from 'node:net'
import { errorBodySchema, outputEventSchema, runResultSchema } from '@atoll/protocol'
import { expect, it } from 'vitest'
import { linesOf, ndjson, startStack } from './start-stack.ts'

it('runs a process and answers with its output and its end, buffered and streamed', async () => {
  await using stack = await startStack()
  const run = await stack.call('POST', '/processes?wait=1', { shell: 'echo out; echo err 1>&2; exit 3' })
  const result = runResultSchema.parse(run.body)
  expect([run.status, result.exit.code, result.stdout, result.stderr]).toEqual([200, 3, 'out\n', 'err\n'])
  expect(result.process).toMatchObject({ state: 'exited', log: { start: 0, end: 8 } })
  const response = await stack.raw(
    'POST',
    `${stack.home}/processes`,
    { argv: ['echo', 'héllo\u2028'] },
    ndjson,
  )
  const text = await response.text()
  expect(text).toMatch(/^[\x20-\x7e\n]+$/)
  const events = text
    .trim()
    .split('\n')
    .map((line) => outputEventSchema.parse(JSON.parse(line)))
  expect(events.map((event) => event.type)).toEqual(['started', 'stdout', 'exit'])
  const data = events.flatMap((event) => ('data' in event ? [Buffer.from(event.data, 'base64')] : []))
  expect(Buffer.concat(data).toString()).toBe('héllo\u2028\n')
})

it('starts at once, lists, waits, reads, signals and ends', async () => {
  await using stack = await startStack()
  const started = await stack.call('POST', '/processes', { id: 'cat', argv: ['cat'], stdin: 'pipe' })
  expect([started.status, started.body.id, started.body.state]).toEqual([201, 'cat', 'running'])
  const wrote = await stack.raw('POST', `${stack.home}/processes/cat/stdin?close=1`, 'some bytes')
  expect(await wrote.json()).toEqual({ bytesWritten: 10 })
  expect((await stack.call('GET', '/processes/cat/wait')).body.exit.code).toBe(0)
  const bytes = await stack.raw('GET', `${stack.home}/processes/cat/output`, null, {
    accept: 'application/octet-stream',
  })
  expect(await bytes.text()).toBe('some bytes')
  const tail = await linesOf(
    await stack.raw('GET', `${stack.home}/processes/cat/output?offset=5`, null, ndjson),
  )
  expect(Buffer.from(String(tail[0]?.['data']), 'base64').toString()).toBe('bytes')
  expect(tail.at(-1)).toEqual({ type: 'end', offset: 10 })
  await stack.call('POST', '/processes', { id: 'long', argv: ['sleep', '100'] })
  expect((await stack.call('POST', '/processes/long/signal', { signal: 'SIGTERM' })).body).toEqual({
    delivered: 1,
  })
  expect((await stack.call('GET', '/processes/long/wait')).body.exit).toMatchObject({
    code: null,
    killed: true,
  })
  expect((await stack.call('GET', '/processes')).body.processes).toHaveLength(2)
  expect((await stack.call('DELETE', '/processes/long')).status).toBe(200)
  expect((await stack.call('GET', '/processes/long')).body.code).toBe('process_not_found')
  expect((await stack.call('GET', '/metrics')).body).toHaveProperty('memory')
})

it('writes input, and once when it is retried', async () => {
  await using stack = await startStack()
  const input = Buffer.from('to stdin').toString('base64')
  const body = { id: 'in', argv: ['cat'], input }
  const first = await stack.call('POST', '/processes?wait=1', body)
  expect(first.body.stdout).toBe('to stdin')
  const again = await stack.call('POST', '/processes?wait=1', body)
  expect(again.body.stdout).toBe('to stdin')
})

it('makes a retry with one Idempotency-Key meet the same process', async () => {
  await using stack = await startStack()
  const headers = { 'idempotency-key': 'abc' }
  const first = await stack.call('POST', '/processes', { argv: ['sleep', '100'] }, headers)
  const again = await stack.call('POST', '/processes', { argv: ['sleep', '100'] }, headers)
  expect(again.body.id).toBe(first.body.id)
  expect((await stack.call('GET', '/processes')).body.processes).toHaveLength(1)
  const other = await stack.call('POST', '/processes', { argv: ['sleep', '200'] }, headers)
  expect([other.status, other.body.code]).toEqual([409, 'idempotency_conflict'])
})

it('keeps a process whose client left, and ends it when it was attached', async () => {
  await using stack = await startStack()
  for (const [id, query] of [
    ['free', ''],
    ['bound', '?attached=1'],
  ] as const) {
    const client = new AbortController()
    const body = JSON.stringify({ id, shell: 'echo begun; sleep 100' })
    const response = await fetch(`http://127.0.0.1:${stack.port}${stack.home}/processes${query}`, {
      method: 'POST',
      body,
      headers: { authorization: stack.authorization, ...ndjson },
      signal: client.signal,
    })
    await response.body?.getReader().read()
    client.abort()
  }
  const gone = async (id: string) =>
    (await stack.call('GET', `/processes/${id}`)).body.code === 'process_not_found'
  await expect.poll(() => gone('bound'), { timeout: 10_000 }).toBe(true)
  expect((await stack.call('GET', '/processes/free')).body.state).toBe('running')
  const output = await linesOf(await stack.raw('GET', `${stack.home}/processes/free/output`, null, ndjson))
  expect(Buffer.from(String(output[0]?.['data']), 'base64').toString()).toBe('begun\n')
})

it('tells what was dropped when a buffered answer is full', async () => {
  await using stack = await startStack({ limits: { bufferedOutputBytes: 10 } })
  const run = await stack.call('POST', '/processes?wait=1', { shell: 'echo 123456789; echo abcdef' })
  expect(run.body).toMatchObject({ stdout: '123456789\n', droppedBytes: 7, exit: { code: 0 } })
})

it('gives binary output as base64', async () => {
  await using stack = await startStack()
  const put = await stack.raw('PUT', `${stack.home}/files?path=/tmp/b`, Buffer.from([0xff, 0, 0xfe]))
  expect(put.status).toBe(200)
  const run = await stack.call('POST', '/processes?wait=1', { argv: ['cat', '/tmp/b'] })
  expect(run.body).toMatchObject({ stdout: '/wD+', stdoutEncoding: 'base64', stderrEncoding: 'utf8' })
})

it('keeps the three deadlines apart', async () => {
  await using stack = await startStack()
  const run = await stack.call('POST', '/processes?wait=1', { argv: ['sleep', '100'], timeoutMs: 50 })
  expect([run.status, run.body.exit.timedOut, run.body.exit.code]).toEqual([200, true, null])
})

it('answers refusals of every tier with the envelope', async () => {
  await using stack = await startStack()
  const cases: [string, string, Record<string, unknown> | undefined, number, string][] = [
    ['POST', '/processes', { argv: ['no-such-program'] }, 422, 'exec_failed'],
    ['POST', '/processes', { argv: ['a'], shell: 'b' }, 400, 'invalid_request'],
    ['GET', '/processes/none', undefined, 404, 'process_not_found'],
    ['GET', '/processes/none/output', undefined, 404, 'process_not_found'],
    ['GET', '/files?path=/none', undefined, 404, 'path_not_found'],
    ['GET', '/files', undefined, 400, 'invalid_request'],
    ['POST', '/files/nothing', {}, 404, 'not_found'],
    ['GET', '/processes/x/adopt', undefined, 404, 'not_found'],
    ['GET', '/processes/x/output?offset=-1', undefined, 400, 'invalid_request'],
  ]
  for (const [method, path, body, status, code] of cases) {
    const answer = await stack.call(method, path, body)
    expect([path, answer.status, answer.body.code]).toEqual([path, status, code])
    expect(errorBodySchema.parse(answer.body).traceId).toBe(answer.headers.get('x-atoll-trace-id'))
  }
})

/** One raw request, since fetch would tidy the path up. */
const rawPath = async (port: number, path: string, authorization: string): Promise<string> => {
  const socket = connect(port, '127.0.0.1')
  socket.end(
    `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\nconnection: close\r\n\r\n`,
  )
  let text = ''
  socket.on('data', (chunk) => void (text += chunk.toString()))
  await once(socket, 'close')
  return text
}

it("has no way to the guest's own control routes", async () => {
  const asked: string[] = []
  await using stack = await startStack({
    wrap: (node) => ({
      ...node,
      guest: (id, request) => {
        asked.push(request.path)
        return node.guest(id, request)
      },
    }),
  })
  for (const path of [
    '/adopt',
    '/health',
    '/processes/../adopt',
    '/processes/%2e%2e/adopt',
    '/processes/..%2fadopt',
    '/files/../adopt',
    '/files/%2e%2e/health',
    '//adopt',
    '/processes//../../adopt',
    '/processes/a/../../../../v1/health',
  ]) {
    const answer = await rawPath(stack.port, stack.home + path, stack.authorization)
    expect([path, /^HTTP\/1\.1 4\d\d/.test(answer)]).toEqual([path, true])
  }
  expect(asked.filter((path) => /adopt|health/.test(path))).toEqual([])
})

it('cuts the streams that a key opened when it is revoked', async () => {
  await using stack = await startStack()
  const made = await stack.raw('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:write'] })
  const { id, secret } = JSON.parse(await made.text())
  const start = { id: 'p', shell: 'echo begun; sleep 100' }
  const authorization = `Bearer ${secret}`
  const response = await stack.raw('POST', `${stack.home}/processes`, start, { ...ndjson, authorization })
  const reader = response.body?.getReader()
  await reader?.read()
  await stack.raw('DELETE', `/v1/keys/${id}`)
  const rest = async (): Promise<void> => {
    while (!(await reader?.read())?.done);
  }
  await expect(rest()).rejects.toThrow()
  expect((await stack.call('GET', '/processes/p')).body.state).toBe('running')
})

it('stops at once for an ended sandbox and says why', async () => {
  await using stack = await startStack()
  await stack.raw('DELETE', stack.home)
  const answer = await stack.call('GET', '/processes')
  expect([answer.status, answer.body.code]).toEqual([410, 'sandbox_ended'])
  expect(answer.body.details.ended.cause).toBe('deleted')
  expect(answer.body.message).toContain('deleted')
})
