import { createHash } from 'node:crypto'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tunnelWindowBytes } from '@atoll/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { loopbackPorts } from './loopback-ports.ts'
import { hostOf, rawExchange } from './port-client.ts'
import { startStack } from './start-stack.ts'

const listening = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

describe('upgrades and tunnels', () => {
  const ports = loopbackPorts()
  let stack: Awaited<ReturnType<typeof startStack>>
  const http = createHttpServer((request, response) => response.end(`plain ${request.url}`))
  const sockets = new WebSocketServer({ noServer: true })
  let upgradeHeaders: string[] = []
  http.on('upgrade', (request, socket, head) => {
    upgradeHeaders = request.rawHeaders
    if (request.url === '/refused') {
      socket.end('HTTP/1.1 403 No\r\ncontent-length: 7\r\nconnection: close\r\n\r\nrefused')
      return
    }
    sockets.handleUpgrade(request, socket, head, (client) =>
      client.on('message', (data, isBinary) => client.send(data, { binary: isBinary })),
    )
  })
  let onTcp: (socket: Socket) => void = () => undefined
  const tcp = createServer({ allowHalfOpen: true }, (socket) => onTcp(socket))
  let web: number
  let raw: number
  beforeAll(async () => {
    stack = await startStack({ wrap: (node) => ports.wrap(node) })
    web = await listening(http)
    raw = await listening(tcp)
  })
  afterAll(async () => {
    http.closeAllConnections()
    http.close()
    tcp.close()
    await stack?.[Symbol.asyncDispose]()
  })
  const tokenFor = async (port: number) =>
    (await stack.call('POST', `/ports/${port}/links`, {})).body.token as string
  const webSocket = (path: string, headers: Record<string, string> = {}) =>
    new WebSocket(`ws://127.0.0.1:${stack.port}${path}`, {
      headers: { host: hostOf(stack, web), ...headers },
    })
  const outcome = (client: WebSocket): Promise<string | number> =>
    new Promise((resolve) => {
      client.once('open', () => resolve('open'))
      client.once('unexpected-response', (_, answer) => resolve(answer.statusCode ?? 0))
      client.once('error', (error) => resolve(error.message))
    })

  it('carries a WebSocket, large messages and its close', async () => {
    const client = webSocket('/hot?x=1', { authorization: stack.authorization })
    expect(await outcome(client)).toBe('open')
    const big = Buffer.alloc(3_000_000, 7)
    for (const message of ['hello', big]) {
      const back = new Promise<Buffer>((resolve) => client.once('message', (data) => resolve(data as Buffer)))
      client.send(message)
      expect((await back).length).toBe(message.length)
    }
    const closed = new Promise<number>((resolve) => client.once('close', (code) => resolve(code)))
    client.close(4_001, 'enough')
    expect(await closed).toBe(4_001)
    expect(upgradeHeaders.join('\n')).not.toContain('atoll_')
    await expect.poll(() => ports.open).toBe(0)
  })

  it('lets a WebSocket in by cookie, header, query or subprotocol, and none without', async () => {
    const token = await tokenFor(web)
    expect(await outcome(webSocket('/'))).toBe(401)
    expect(await outcome(webSocket('/', { 'x-atoll-port-token': await tokenFor(raw) }))).toBe(403)
    const origin = `http://${hostOf(stack, web)}`
    for (const client of [
      webSocket('/', { cookie: `atoll_port_token=${token}`, origin }),
      webSocket('/', { 'x-atoll-port-token': token }),
      webSocket(`/?atoll_token=${token}`),
    ]) {
      expect(await outcome(client)).toBe('open')
      client.terminate()
    }
    const foreign = webSocket('/', { cookie: `atoll_port_token=${token}`, origin: 'http://evil.localhost' })
    expect(await outcome(foreign)).toBe(403)
  })

  it("passes on the server's own refusal, and says when nobody listens", async () => {
    expect(await outcome(webSocket('/refused', { authorization: stack.authorization }))).toBe(403)
    const client = new WebSocket(`ws://127.0.0.1:${stack.port}/`, {
      headers: { host: hostOf(stack, 1), authorization: stack.authorization },
    })
    expect(await outcome(client)).toBe(502)
  })

  it('answers an upgrade that the server does not know as it does: h2c is asked for by curl', async () => {
    const plain = createHttpServer((request, response) => response.end(`plain ${request.url}`))
    const port = await listening(plain)
    const head = `GET /x HTTP/1.1\r\nhost: ${hostOf(stack, port)}\r\nauthorization: ${stack.authorization}\r\n`
    const { text } = await rawExchange(stack.port, `${head}connection: upgrade\r\nupgrade: h2c\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*plain \/x$/)
    plain.close()
  })

  /** A tunnel as a client of the protocol sees it. */
  const tunnel = async (port: number, options: { token?: string; takes?: boolean } = {}) => {
    const token = options.token ?? stack.key
    const client = new WebSocket(`ws://127.0.0.1:${stack.port}${stack.home}/ports/${port}/tunnel`, [
      'atoll.tunnel',
      `atoll.token.${token}`,
    ])
    const seen = { bytes: 0, hash: createHash('sha256'), ended: false, taken: 0, text: '', refused: '' }
    client.on('message', (data: Buffer, isBinary) => {
      if (isBinary) {
        seen.bytes += data.length
        seen.hash.update(data)
        if (data.length < 1_000) seen.text += data.toString()
        if (options.takes !== false) client.send(JSON.stringify({ type: 'taken', bytes: data.length }))
        return
      }
      const message = JSON.parse(data.toString())
      if (message.type === 'end') seen.ended = true
      if (message.type === 'refused') seen.refused = message.error.code
      if (message.type === 'taken') seen.taken += message.bytes
    })
    const closed = new Promise<number>((resolve) => client.once('close', (code) => resolve(code)))
    return { client, seen, closed, opened: await outcome(client) }
  }

  it('tunnels any protocol, with a half-close in each direction', async () => {
    onTcp = (socket) => {
      let got = ''
      socket.on('data', (chunk: Buffer) => (got += chunk))
      socket.on('end', () => socket.end(`you said ${got}`))
    }
    const { client, seen, closed, opened } = await tunnel(raw)
    expect(opened).toBe('open')
    expect(client.protocol).toBe('atoll.tunnel')
    client.send(Buffer.from('a question'))
    client.send(JSON.stringify({ type: 'end' }))
    expect(await closed).toBe(1_000)
    expect(seen).toMatchObject({ text: 'you said a question', ended: true, taken: 10 })
  })

  it('needs a token for this port, at a public one too', async () => {
    const { client, opened } = await tunnel(raw, { token: await tokenFor(raw) })
    expect(opened).toBe('open')
    client.terminate()
    expect((await tunnel(raw, { token: await tokenFor(web) })).opened).toBe(403)
    expect((await tunnel(raw, { token: 'x' })).opened).toBe(401)
    await stack.call('PUT', `/ports/${raw}`, { access: 'public' })
    expect((await tunnel(raw, { token: 'x' })).opened).toBe(401)
  })

  it('sends no more than a window to a client that takes nothing', async () => {
    let written = 0
    onTcp = (socket) => {
      socket.on('error', () => undefined)
      const chunk = Buffer.alloc(64 * 1024)
      const more = (): void => {
        while (written < 64 * 1024 ** 2 && !socket.destroyed) {
          written += chunk.length
          if (!socket.write(chunk)) return
        }
      }
      socket.on('drain', more)
      more()
    }
    const { client, seen } = await tunnel(raw, { takes: false })
    await expect.poll(() => seen.bytes, { timeout: 5_000 }).toBeGreaterThanOrEqual(tunnelWindowBytes)
    const before = written
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(written, 'the source is held').toBe(before)
    expect(seen.bytes).toBeLessThan(tunnelWindowBytes + 128 * 1024)
    expect(written).toBeLessThan(32 * 1024 ** 2)
    client.send(JSON.stringify({ type: 'taken', bytes: tunnelWindowBytes }))
    await expect.poll(() => seen.bytes, { timeout: 5_000 }).toBeGreaterThanOrEqual(2 * tunnelWindowBytes)
    client.terminate()
    await expect.poll(() => ports.open, { timeout: 5_000 }).toBe(0)
  })

  it('carries megabytes unharmed', async () => {
    const bytes = Buffer.alloc(8 * 1024 ** 2, 'atoll')
    onTcp = (socket) => socket.end(bytes)
    const { seen, closed } = await tunnel(raw)
    await closed
    expect([seen.bytes, seen.hash.digest('hex')]).toEqual([
      bytes.length,
      createHash('sha256').update(bytes).digest('hex'),
    ])
  })

  it('ends with the key, and with the connection inside', async () => {
    onTcp = (socket) => socket.on('error', () => undefined).write('hello')
    const key = (await (
      await stack.raw('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:write'] })
    ).json()) as {
      id: string
      secret: string
    }
    const { closed: cut } = await tunnel(raw, { token: key.secret })
    await stack.raw('DELETE', `/v1/keys/${key.id}`)
    expect(await cut).toBe(1_008)
    onTcp = (socket) => socket.resetAndDestroy()
    const broken = await tunnel(raw)
    expect(await broken.closed).toBe(1_011)
    const nobody = await tunnel(1)
    expect(await nobody.closed).toBe(1_011)
    expect(nobody.seen.refused).toBe('connection_refused')
  })
})
