import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loopbackPorts } from './loopback-ports.ts'
import { askPort } from './port-client.ts'
import { startStack } from './start-stack.ts'

/** A server inside that is no server: what it says is hostile data (invariant 8). */
describe('a hostile server inside', () => {
  const ports = loopbackPorts()
  let stack: Awaited<ReturnType<typeof startStack>>
  let inside: number
  let onRequest: (socket: Socket, count: number) => void = () => undefined
  const server = createServer((socket) => {
    let count = 0
    socket.on('error', () => undefined)
    socket.on('data', () => onRequest(socket, ++count))
  })
  beforeAll(async () => {
    stack = await startStack({ wrap: (node) => ports.wrap(node), portLimits: { answerMs: 3_000 } })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    inside = (server.address() as AddressInfo).port
  })
  afterAll(async () => {
    server.close()
    await stack?.[Symbol.asyncDispose]()
  })
  const ask = (options: Parameters<typeof askPort>[2] = {}) =>
    askPort(stack, inside, { headers: { authorization: stack.authorization }, ...options })

  it.each([
    ['no HTTP at all', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['headers without an end', `HTTP/1.1 200 OK\r\n${`x-${'y'.repeat(200)}: z\r\n`.repeat(1_000)}`],
    [
      'length and chunks',
      'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 30\r\n\r\nabc'],
    ['a length that is none', 'HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc'],
    [
      'an upgrade that nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
    ],
    ['a status out of range', 'HTTP/1.1 0 No\r\ncontent-length: 0\r\n\r\n'],
    ['interim answers without an end', 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'.repeat(2_000)],
  ])('is told as broken: %s', async (_, text) => {
    onRequest = (socket) => void socket.write(text)
    const answer = await ask()
    expect([answer.status, answer.headers['x-atoll-error']]).toEqual([502, 'stream_broken'])
    expect(answer.text).toContain(`port ${inside} of ${stack.id}`)
    await expect.poll(() => ports.open).toBe(0)
  })

  it('is cut when its chunks are none, half-way', async () => {
    onRequest = (socket) =>
      void socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n')
    await expect(ask()).rejects.toThrow(/aborted|hang up|ECONNRESET/)
  })

  it('puts no second answer before the next request', async () => {
    const whole = (text: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`
    onRequest = (socket, count) => void socket.write(whole(`own ${count}`) + whole('poison'))
    for (let n = 0; n < 5; n++) expect((await ask({ path: `/${n}` })).text).not.toBe('poison')
    // The same, late: after its first answer was passed on and the connection was put aside.
    onRequest = (socket, count) => {
      socket.write(whole(`own ${count}`))
      setTimeout(() => socket.write(whole('poison')), 50)
    }
    for (let n = 0; n < 3; n++) {
      expect((await ask()).text).toMatch(/^own/)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })

  it('gets no header through that frames the answer, or that is ours', async () => {
    const list =
      'connection: content-length, x-hop, close\r\nx-hop: 1\r\nproxy-connection: close\r\nx-atoll-trace-id: 1'
    onRequest = (socket) =>
      socket.end(`HTTP/1.1 200 OK\r\n${list}\r\nkeep-alive: timeout=9999\r\ncontent-length: 2\r\n\r\nok`)
    const answer = await ask()
    expect(answer.text).toBe('ok')
    for (const name of ['x-hop', 'proxy-connection', 'x-atoll-trace-id'])
      expect(answer.headers[name]).toBeUndefined()
    expect(answer.headers['content-length']).toBe('2')
    expect(String(answer.headers['keep-alive'])).not.toContain('9999')
  })

  it('has a deadline for its answer', async () => {
    onRequest = () => undefined
    const answer = await ask()
    expect([answer.status, answer.headers['x-atoll-error']]).toEqual([504, 'deadline_guest'])
    await expect.poll(() => ports.open).toBe(0)
  })
})
