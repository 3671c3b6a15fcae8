import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { answer, frame, home, refusal, startScripted } from './scripted-guest.ts'
import { linesOf, ndjson } from './start-stack.ts'

const start = JSON.stringify({ argv: ['x'] })

it('never takes the end of a stream for the end of a process', async () => {
  const bad: [string, Uint8Array[]][] = [
    ['ended', [frame.started, frame.out(0, Buffer.from('abc'))]],
    ['cut in a frame', [frame.started, frame.out(0, Buffer.from('abc')).subarray(0, 18)]],
    ['unknown kind', [frame.started, Buffer.alloc(16, 9)]],
    ['too long', [frame.started, Buffer.from([1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0])]],
    ['exit without code', [frame.started, frame.event({ type: 'exit', exit: {} })]],
    ['not JSON', [frame.started, frame.event('x')]],
  ]
  for (const [name, chunks] of bad) {
    await using guest = await startScripted(() => answer(chunks, 201))
    const lines = await linesOf(await guest.raw('POST', '/processes', start, ndjson))
    expect([
      name,
      lines.at(-1)?.['type'],
      (lines.at(-1)?.['error'] as { code: string } | undefined)?.code,
    ]).toEqual([name, 'error', 'stream_broken'])
    const buffered = await guest.raw('POST', '/processes?wait=1', start)
    expect([name, buffered.status, JSON.parse(await buffered.text()).code]).toEqual([
      name,
      502,
      'stream_broken',
    ])
  }
})

it('tells a pause from a broken stream, and breaks the output of neither', async () => {
  const cut = () => answer([frame.started, frame.out(0, Buffer.from('abc'))], 201)
  for (const state of ['paused', 'stopped'] as const) {
    await using guest = await startScripted(cut, {}, state)
    const lines = await linesOf(await guest.raw('POST', '/processes', start, ndjson))
    expect(lines.map((line) => line['type'])).toEqual(['started', 'stdout', 'error'])
    expect(lines.at(-1)?.['error']).toMatchObject({
      code: 'state_conflict',
      sandboxState: state,
      retryable: false,
    })
    const followed = await linesOf(await guest.raw('GET', '/processes/p/output?follow=1'))
    expect(followed.at(-1)?.['error']).toMatchObject({ code: 'state_conflict' })
    const buffered = await guest.raw('POST', '/processes?wait=1', start)
    expect([buffered.status, JSON.parse(await buffered.text()).code]).toEqual([409, 'state_conflict'])
  }
})

it('ends a stream that falls silent', async () => {
  const silent = (): Readable => {
    const body = new Readable({ read() {} })
    body.push(frame.started)
    return body
  }
  await using guest = await startScripted(() => ({ status: 201, headers: {}, body: silent() }), {
    guestSilenceMs: 200,
    heartbeatMs: 50,
  })
  const lines = await linesOf(await guest.raw('POST', '/processes', start, ndjson))
  expect(lines.map((line) => line['type'])).toContain('heartbeat')
  expect(lines.at(-1)).toMatchObject({ type: 'error', error: { code: 'stream_broken' } })
})

it("binds the node's deadline when the guest's does not, and says whose it was", async () => {
  const body = new Readable({ read() {} })
  body.push(frame.started)
  await using guest = await startScripted(
    (request) => (request.method === 'PUT' ? { status: 201, headers: {}, body } : refusal(503, 'overloaded')),
    { nodeGraceMs: 100 },
  )
  const run = await guest.raw('POST', '/processes?wait=1', JSON.stringify({ argv: ['x'], timeoutMs: 50 }))
  expect([run.status, JSON.parse(await run.text()).code]).toEqual([504, 'deadline_node'])
  expect(guest.asked.some((asked) => asked.startsWith('DELETE'))).toBe(true)
})

it('passes what a guest says of an archive on, so that nobody sends it again', async () => {
  await using guest = await startScripted(() => refusal(422, 'image_invalid'))
  const response = await guest.raw('PUT', '/tar?path=/tmp', 'no archive')
  expect([response.status, JSON.parse(await response.text())]).toMatchObject([
    422,
    { code: 'image_invalid', retryable: false },
  ])
})

it('does not let a guest speak for control, nor send what is not bounded', async () => {
  for (const code of ['unauthenticated', 'rate_limited', 'sandbox_ended', 'nonsense']) {
    await using guest = await startScripted(() => refusal(401, code))
    const response = await guest.raw('GET', '/processes')
    expect([code, JSON.parse(await response.text()).code]).toEqual([code, 'guest_unreachable'])
  }
  await using loud = await startScripted(() => refusal(404, 'path_not_found', { x: 'y'.repeat(10_000) }))
  expect(JSON.parse(await (await loud.raw('GET', '/files?path=/x')).text()).details).toBeUndefined()
  const endless = function* (): Generator<Uint8Array> {
    for (;;) yield Buffer.alloc(1024 * 1024, 32)
  }
  await using huge = await startScripted(() => answer(endless()))
  const listed = await huge.raw('GET', '/files/list?path=/')
  expect(JSON.parse(await listed.text()).code).toBe('guest_unreachable')
  await using header = await startScripted(() =>
    answer([Buffer.from('<script>')], 200, {
      'content-type': 'text/html',
      'set-cookie': 'a=b',
      location: '/x',
    }),
  )
  const file = await header.raw('GET', '/files?path=/x')
  expect(file.headers.get('content-type')).toBe('application/octet-stream')
  expect([file.headers.get('set-cookie'), file.headers.get('location')]).toEqual([null, null])
})

it('cuts a download that breaks, and never ends it well', async () => {
  const breaking = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(1_000)
    throw new Error('gone')
  }
  await using guest = await startScripted(() => answer(breaking()))
  const response = await guest.raw('GET', '/files?path=/x').catch(() => undefined)
  await expect(Promise.resolve(response?.arrayBuffer() ?? Promise.reject(new Error('cut')))).rejects.toThrow()
})

it('holds little for a client that does not read, whatever a process writes', async () => {
  let produced = 0
  const page = Buffer.alloc(65_536 - 16, 120)
  const endless = function* (): Generator<Uint8Array> {
    yield frame.started
    for (;;) {
      yield frame.out(produced, page)
      produced += page.length
    }
  }
  await using guest = await startScripted(() => answer(endless(), 201))
  for (const headers of ['accept: application/x-ndjson', 'accept: application/octet-stream']) {
    produced = 0
    const stream = headers.includes('x-ndjson')
    const before = process.memoryUsage().rss
    const sockets = Array.from({ length: 10 }, () => {
      const socket = connect(guest.port, '127.0.0.1')
      socket.pause()
      const line = stream ? `POST ${home}/processes` : `GET ${home}/processes/p/output?follow=1`
      const body = stream ? start : ''
      socket.write(
        `${line} HTTP/1.1\r\nhost: x\r\n${headers}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      )
      return socket
    })
    // It has settled when nothing was produced for a while: no clock can say that better than the counter.
    let last = -1
    await expect
      .poll(
        () => {
          const settled = produced > 0 && produced === last
          last = produced
          return settled
        },
        { timeout: 20_000, interval: 500 },
      )
      .toBe(true)
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024)
    // Per stream: one batch, Node's buffers and the kernel's.
    expect(produced / sockets.length).toBeLessThan(16 * 1024 * 1024)
    for (const socket of sockets) {
      socket.destroy()
      await once(socket, 'close')
    }
  }
})
