import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AtollError } from '@atoll/protocol'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { loopbackPorts } from './loopback-ports.ts'
import { askPort, hostOf, rawExchange } from './port-client.ts'
import { startStack } from './start-stack.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const listening = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

describe('the way in to a port', () => {
  const ports = loopbackPorts()
  let stack: Awaited<ReturnType<typeof startStack>>
  let serve: Handler
  let seen: { method: string; url: string; headers: string[]; body: string }[] = []
  let server: Server
  let inside: number
  beforeAll(async () => {
    stack = await startStack({
      wrap: (node) => ports.wrap(node),
      portLimits: { idleConnectionMs: 300, wakeMs: 1_500, expectMs: 200, connectionsPerSandbox: 40 },
    })
    server = createServer((request, response) => serve(request, response))
    server.on('checkContinue', (request, response) => serve(request, response))
    inside = await listening(server)
  })
  afterAll(async () => {
    server.closeAllConnections()
    server.close()
    await stack?.[Symbol.asyncDispose]()
  })
  beforeEach(() => {
    seen = []
    serve = (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const { method = '', url = '', rawHeaders } = request
        seen.push({ method, url, headers: rawHeaders, body: Buffer.concat(chunks).toString() })
        response.end('hello')
      })
    }
  })
  const bearer = () => ({ authorization: `Bearer ${stack.key}` })
  const ask = (options: Parameters<typeof askPort>[2] = {}) =>
    askPort(stack, inside, { ...options, headers: { ...bearer(), ...(options.headers as object) } })
  const header = (name: string) => {
    const { headers = [] } = seen.at(-1) ?? {}
    return headers.filter((_, index) => index % 2 === 1 && headers[index - 1]?.toLowerCase() === name)
  }
  const set = (settings: object, port = inside) => stack.call('PUT', `/ports/${port}`, settings as never)
  const link = async (port = inside, more: object = {}) =>
    (await stack.call('POST', `/ports/${port}/links`, more as never)).body as {
      url: string
      token: string
      expiresAtMs: number
    }

  describe('carries', () => {
    it('method, path, query and body as they came', async () => {
      const path = '/a%2fb//c?x=1&y=%20&z'
      const answer = await ask({ method: 'POST', path, body: 'some bytes', headers: { 'x-own': 'ä' } })
      expect([answer.status, answer.text]).toEqual([200, 'hello'])
      expect(seen).toMatchObject([{ method: 'POST', url: path, body: 'some bytes' }])
    })

    it('by headers as well, for clients that cannot choose the host', async () => {
      const headers = { 'x-atoll-sandbox': stack.id, 'x-atoll-port': String(inside) }
      expect((await ask({ via: 'api.example', path: '/v1/health', headers })).text).toBe('hello')
      expect(seen[0]).toMatchObject({ url: '/v1/health' })
      expect(header('x-atoll-sandbox')).toEqual([])
      const host = hostOf(stack, inside)
      for (const wrong of [
        { 'x-atoll-port': '1' },
        { 'x-atoll-sandbox': stack.id, 'x-atoll-port': '01' },
        { 'x-atoll-sandbox': stack.id, 'x-atoll-port': '70000' },
      ])
        expect((await ask({ via: host, headers: wrong })).status).toBe(400)
    })

    it('HEAD without a body, with the length of it', async () => {
      serve = (_, response) => response.writeHead(200, { 'content-length': '5000' }).end()
      const answer = await ask({ method: 'HEAD' })
      expect([answer.status, answer.headers['content-length'], answer.text]).toEqual([200, '5000', ''])
    })

    it('doubled headers, status text and trailers, both ways', async () => {
      let trailers: NodeJS.Dict<string> = {}
      serve = (request, response) => {
        request.resume().on('end', () => {
          trailers = request.trailers
          response.writeHead(207, 'Of Many', ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'Trailer', 'x-sum'])
          response.write('part')
          response.addTrailers({ 'x-sum': 'abc' })
          response.end()
        })
      }
      const text = [
        `POST / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nauthorization: Bearer ${stack.key}\r\n`,
        'transfer-encoding: chunked\r\ntrailer: x-end\r\nconnection: close\r\n\r\n',
        '4\r\nwiki\r\n0\r\nx-end: yes\r\n\r\n',
      ].join('')
      const answer = await rawExchange(stack.port, text)
      expect(answer.text).toMatch(/^HTTP\/1\.1 207 Of Many\r\n/)
      expect(answer.text.match(/set-cookie: \w=\d/gi)).toHaveLength(2)
      expect(answer.text).toMatch(/x-sum: abc/i)
      expect(trailers).toEqual({ 'x-end': 'yes' })
    })

    it('a stream as it comes, event by event', async () => {
      let more: (text: string) => void = () => undefined
      serve = (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        response.write('data: 1\n\n')
        more = (text) => response.end(text)
      }
      const text = `GET / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nauthorization: Bearer ${stack.key}\r\n\r\n`
      const { socket } = await rawExchange(stack.port, text, /data: 1/)
      const rest = new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(String(chunk))))
      more('data: 2\n\n')
      expect(await rest).toContain('data: 2')
      socket.destroy()
    })

    it('Expect: 100-continue to the server, which may refuse the body', async () => {
      serve = (_, response) => response.writeHead(417).end('no')
      const head = `PUT / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nauthorization: Bearer ${stack.key}\r\n`
      const refused = await rawExchange(
        stack.port,
        `${head}expect: 100-continue\r\ncontent-length: 5\r\n\r\n`,
        /no$/,
      )
      expect(refused.text).toMatch(/^HTTP\/1\.1 417 /)
      refused.socket.destroy()
      serve = (request, response) => {
        response.writeContinue()
        request.on('data', (chunk) => response.end(`got ${chunk}`))
      }
      const allowed = await rawExchange(
        stack.port,
        `${head}expect: 100-continue\r\ncontent-length: 5\r\n\r\n`,
        /100 Continue\r\n\r\n/,
      )
      const got = new Promise<string>((resolve) =>
        allowed.socket.once('data', (chunk) => resolve(String(chunk))),
      )
      allowed.socket.write('12345')
      expect(await got).toMatch(/^HTTP\/1\.1 200 [\s\S]*got 12345$/)
      allowed.socket.destroy()
    })

    it('a whole answer to a client that still sends what nobody reads', async () => {
      serve = (_, response) => response.writeHead(413, { connection: 'close' }).end('too large')
      const text = `POST / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nauthorization: Bearer ${stack.key}\r\ncontent-length: 100000000\r\n\r\n${'x'.repeat(200_000)}`
      const { text: answer, socket } = await rawExchange(stack.port, text, /too large$/)
      expect(answer).toMatch(/^HTTP\/1\.1 413 /)
      socket.destroy()
    })

    it('no more than its buffers to a client that reads nothing', async () => {
      let written = 0
      serve = (_, response) => {
        const chunk = Buffer.alloc(64 * 1024)
        const more = (): void => {
          while (written < 256 * 1024 ** 2 && !response.destroyed) {
            written += chunk.length
            if (!response.write(chunk)) return
          }
        }
        response.on('drain', more)
        more()
      }
      const text = `GET / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nauthorization: Bearer ${stack.key}\r\n\r\n`
      const { socket } = await rawExchange(stack.port, text, /\r\n\r\n/)
      socket.pause()
      let before = -1
      await expect
        .poll(() => [before, (before = written)].every((value) => value === written), { interval: 200 })
        .toBe(true)
      expect(written, 'what the kernel and we buffer').toBeLessThan(32 * 1024 ** 2)
      socket.destroy()
      await expect.poll(() => ports.open, { timeout: 3_000 }).toBe(0)
    })

    it('a broken answer as broken, never as a shorter one', async () => {
      serve = (_, response) => {
        response.writeHead(200, { 'content-length': '1000' })
        response.write('half', () => response.destroy())
      }
      await expect(ask()).rejects.toThrow(/aborted|hang up|ECONNRESET/)
      serve = (_, response) => response.socket?.destroy()
      expect((await ask()).headers['x-atoll-error']).toBe('stream_broken')
    })

    it('many requests at once, each with its own answer', async () => {
      const results = await Promise.all(Array.from({ length: 30 }, (_, n) => ask({ path: `/${n}` })))
      expect(results.map(({ status }) => status)).toEqual(Array.from({ length: 30 }, () => 200))
      expect(new Set(seen.map(({ url }) => url)).size).toBe(30)
    })

    it('and keeps a connection for the next request, but not for long', async () => {
      await expect.poll(() => ports.open).toBe(0)
      const before = ports.opened
      for (let n = 0; n < 5; n++) expect((await ask()).status).toBe(200)
      expect(ports.opened - before).toBe(1)
      await expect.poll(() => ports.open, { timeout: 2_000 }).toBe(0)
    })

    it('no more connections than the limit', async () => {
      const waiting: ServerResponse[] = []
      serve = (_, response) => void waiting.push(response)
      const held = Array.from({ length: 40 }, () => ask())
      await expect.poll(() => waiting.length).toBe(40)
      const over = await ask()
      expect([over.status, over.headers['x-atoll-error']]).toEqual([503, 'overloaded'])
      for (const response of waiting) response.end()
      await Promise.all(held)
    })
  })

  describe('tells the server inside', () => {
    it('that it is localhost, and who asked', async () => {
      const host = hostOf(stack, inside)
      await ask({
        headers: { origin: `http://${host}`, 'x-forwarded-for': '6.6.6.6', forwarded: 'for=6.6.6.6' },
      })
      expect(header('host')).toEqual([`localhost:${inside}`])
      expect(header('origin')).toEqual([`http://localhost:${inside}`])
      expect(header('x-forwarded-host')).toEqual([host])
      expect(header('x-forwarded-for')).toEqual(['127.0.0.1'])
      expect(header('forwarded')).toEqual([])
      await ask({ headers: { origin: 'http://evil.example' } })
      expect(header('origin')).toEqual(['http://evil.example'])
    })

    it('the public name where that is asked for', async () => {
      expect((await set({ maskHost: false })).body).toMatchObject({ maskHost: false, access: 'private' })
      await ask()
      expect(header('host')).toEqual([hostOf(stack, inside)])
      await set({})
    })

    it('nothing of its own connection', async () => {
      await ask({
        headers: { connection: 'x-secret, keep-alive', 'x-secret': '1', te: 'trailers', 'keep-alive': '5' },
      })
      for (const name of ['x-secret', 'te', 'keep-alive', 'proxy-connection'])
        expect(header(name)).toEqual([])
    })

    it('nothing of what let the client in', async () => {
      const { token } = await link()
      const headers = {
        'x-atoll-port-token': token,
        cookie: `own=1; atoll_port_token=${token}; __Host-atoll_port_token=${token}`,
        'sec-websocket-protocol': `atoll.token.${token}, own`,
        referer: `http://${hostOf(stack, inside)}/before?atoll_token=${token}`,
      }
      const answer = await ask({ path: `/p?a=1&atoll_token=${token}&b=2&atoll%5Ftoken=${token}`, headers })
      expect(answer.status).toBe(200)
      expect(seen[0]?.url).toBe('/p?a=1&b=2')
      expect(header('cookie')).toEqual(['own=1'])
      expect(header('referer')).toEqual([`http://${hostOf(stack, inside)}/before`])
      expect(header('authorization')).toEqual([])
      expect(header('sec-websocket-protocol')).toEqual(['own'])
      expect(JSON.stringify(seen)).not.toMatch(/atpt_|atoll_[a-z2-7]{20}_/)
    })

    it('its own authorization, untouched', async () => {
      const { token } = await link()
      const headers = { authorization: 'Bearer app-token', 'x-atoll-port-token': token }
      expect((await askPort(stack, inside, { headers })).status).toBe(200)
      expect(header('authorization')).toEqual(['Bearer app-token'])
    })
  })

  describe('lets a server inside say nothing', () => {
    it('for other names, nor as the gateway', async () => {
      serve = (_, response) =>
        response
          .writeHead(200, [
            'Set-Cookie',
            'a=1; Domain=localhost; Path=/',
            'Set-Cookie',
            'atoll_port_token=mine',
            'Alt-Svc',
            'h3=":1"',
            'X-Atoll-Error',
            'sandbox_ended',
            'X-Own',
            '1',
          ])
          .end()
      const { headers } = await ask()
      expect(headers['set-cookie']).toEqual(['a=1; Path=/'])
      expect([headers['alt-svc'], headers['x-atoll-error'], headers['x-own']]).toEqual([
        undefined,
        undefined,
        '1',
      ])
    })

    it('and brings its redirects back to the public name', async () => {
      serve = (_, response) =>
        response.writeHead(302, { location: `http://localhost:${inside}/next?a#b` }).end()
      expect((await ask()).headers.location).toBe(`http://${hostOf(stack, inside)}/next?a#b`)
      serve = (_, response) => response.writeHead(302, { location: 'http://localhost:1/' }).end()
      expect((await ask()).headers.location).toBe('http://localhost:1/')
    })
  })

  describe('is private', () => {
    it('for everyone without a token', async () => {
      const answer = await askPort(stack, inside)
      expect([answer.status, answer.headers['x-atoll-error']]).toEqual([401, 'unauthenticated'])
      const page = await askPort(stack, inside, { headers: { accept: 'text/html' } })
      expect(page.text).toContain('<h1>This port is private</h1>')
      expect(seen).toEqual([])
    })

    it('with a token for this port, and no other way', async () => {
      const { token } = await link()
      const other = (await link(inside === 65_535 ? 1 : inside + 1)).token
      const forged = `${token.slice(0, -4)}AAAA`
      const status = async (value: string) =>
        (await askPort(stack, inside, { headers: { 'x-atoll-port-token': value } })).status
      expect(await status(token)).toBe(200)
      expect(await status(other)).toBe(403)
      expect(await status(forged)).toBe(401)
      // Not for the API, nor as a token of the sandbox.
      const api = await fetch(`http://127.0.0.1:${stack.port}${stack.home}/processes`, {
        headers: { authorization: `Bearer ${token}` },
      })
      expect(api.status).toBe(401)
      const renamed = token.replace('atpt_', 'atst_')
      expect(await status(renamed)).toBe(401)
    })

    it('with a token of the sandbox that may use it, and with no key of another project', async () => {
      const tokenOf = async (access: string) =>
        (await stack.call('POST', '/tokens', { ttlMs: 60_000, access })).body.token as string
      const status = async (value: string) =>
        (await askPort(stack, inside, { headers: { 'x-atoll-port-token': value } })).status
      expect(await status(await tokenOf('use'))).toBe(200)
      expect(await status(await tokenOf('read'))).toBe(403)
      const project = (await (await stack.raw('POST', '/v1/projects', { name: 'other' })).json()) as {
        id: string
      }
      const scopes = ['sandboxes:write']
      const key = await (
        await stack.raw('POST', '/v1/keys', { name: 'k', scopes, project: project.id })
      ).json()
      expect(await status(key.secret)).toBe(404)
      const reader = await (
        await stack.raw('POST', '/v1/keys', { name: 'r', scopes: ['sandboxes:read'] })
      ).json()
      expect(await status(reader.secret)).toBe(403)
      expect(await status(stack.key)).toBe(200)
    })

    it('after the token expired, and after its key was revoked', async () => {
      const short = await link(inside, { expiresInMs: 1_000 })
      expect(short.expiresAtMs).toBeLessThan(Date.now() + 1_500)
      const key = await (
        await stack.raw('POST', '/v1/keys', { name: 'k', scopes: ['sandboxes:write'] })
      ).json()
      const made = await fetch(`http://127.0.0.1:${stack.port}${stack.home}/ports/${inside}/links`, {
        method: 'POST',
        headers: { authorization: `Bearer ${key.secret}`, 'content-type': 'application/json' },
        body: '{}',
      })
      const { token } = (await made.json()) as { token: string }
      const status = async (value: string) =>
        (await askPort(stack, inside, { headers: { 'x-atoll-port-token': value } })).status
      expect([await status(token), await status(short.token)]).toEqual([200, 200])
      serve = (_, response) => void response.writeHead(200).write('stream')
      const text = `GET / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\nx-atoll-port-token: ${token}\r\n\r\n`
      const { socket } = await rawExchange(stack.port, text, /stream/)
      const cut = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      await stack.raw('DELETE', `/v1/keys/${key.id}`)
      await cut
      serve = (_, response) => response.end()
      expect(await status(token)).toBe(401)
      await expect.poll(() => status(short.token), { timeout: 3_000 }).toBe(401)
    })

    it('for a browser with a link: a cookie, and an address without the token', async () => {
      const { url, token } = await link(inside, { path: '/page?x=1' })
      expect(url).toContain(`.localhost`)
      const path = new URL(url).pathname + new URL(url).search
      const first = await askPort(stack, inside, { path, headers: { accept: 'text/html' } })
      expect(first.status).toBe(303)
      expect(first.headers.location).toBe(`http://${hostOf(stack, inside)}/page?x=1`)
      const cookie = first.headers['set-cookie']?.[0] ?? ''
      expect(cookie).toMatch(/^atoll_port_token=atpt_.*; Path=\/; Expires=.* GMT; HttpOnly; SameSite=Lax$/)
      const pair = cookie.split(';')[0] ?? ''
      expect((await askPort(stack, inside, { headers: { cookie: pair } })).status).toBe(200)
      // A program that follows no redirect is served at once.
      expect((await askPort(stack, inside, { path: `/p?atoll_token=${token}` })).status).toBe(200)
    })

    it('for what another origin makes a browser send', async () => {
      const { token } = await link()
      const cookie = `atoll_port_token=${token}`
      const status = async (headers: Record<string, string>) =>
        (await askPort(stack, inside, { headers: { cookie, ...headers } })).status
      expect(
        await status({ origin: `http://${hostOf(stack, inside)}`, 'sec-fetch-site': 'same-origin' }),
      ).toBe(200)
      expect(await status({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })).toBe(200)
      expect(await status({ origin: 'http://3000-sbx-bbbbbbbbbbbbbbbbbbbb.localhost' })).toBe(403)
      expect(await status({ 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' })).toBe(403)
      expect(await status({ origin: 'null' })).toBe(403)
    })

    it('until it is made public, and again after', async () => {
      expect((await set({ access: 'public' })).status).toBe(200)
      expect((await askPort(stack, inside)).status).toBe(200)
      serve = (_, response) => void response.writeHead(200).write('stream')
      const text = `GET / HTTP/1.1\r\nhost: ${hostOf(stack, inside)}\r\n\r\n`
      const { socket } = await rawExchange(stack.port, text, /stream/)
      const cut = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      expect((await stack.call('GET', '/ports')).body.ports).toMatchObject([
        { port: inside, access: 'public' },
      ])
      await set({ access: 'private' })
      await cut
      expect((await askPort(stack, inside)).status).toBe(401)
    })
  })

  describe('refuses', () => {
    it('names that are nearly one', async () => {
      const id = stack.id.slice(4)
      for (const label of [
        `0-sbx-${id}`,
        `03000-sbx-${id}`,
        `70000-sbx-${id}`,
        `3000-sbx_${id}`,
        `3000-${id}`,
        `sbx-${id}`,
        `3000-sbx-${id}x`,
      ]) {
        const answer = await askPort(stack, inside, { via: `${label}.localhost`, path: '/v1/health' })
        expect([label, answer.status, answer.headers['x-atoll-error']]).toEqual([label, 404, 'not_found'])
      }
      const upper = hostOf(stack, inside).toUpperCase()
      expect((await askPort(stack, inside, { via: upper, headers: bearer() })).status).toBe(200)
    })

    it.each([
      ['two hosts', (host: string) => `GET / HTTP/1.1\r\nhost: ${host}\r\nhost: 127.0.0.1\r\n\r\n`],
      ['an absolute target', (host: string) => `GET http://other/ HTTP/1.1\r\nhost: ${host}\r\n\r\n`],
      [
        'length and chunks',
        (host: string) =>
          `POST / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
      ],
      [
        'two lengths',
        (host: string) =>
          `POST / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello`,
      ],
      ['a folded header', (host: string) => `GET / HTTP/1.1\r\nhost: ${host}\r\nx-a: 1\r\n folded\r\n\r\n`],
      [
        'a space before the colon',
        (host: string) => `GET / HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding : chunked\r\n\r\n`,
      ],
      [
        'a bare line feed in a header',
        (host: string) => `GET / HTTP/1.1\r\nhost: ${host}\r\nx-a: 1\nx-b: 2\r\n\r\n`,
      ],
      [
        'chunked that is not last',
        (host: string) =>
          `POST / HTTP/1.1\r\nhost: ${host}\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      ],
    ])('%s', async (_, text) => {
      const { text: answer, socket } = await rawExchange(
        stack.port,
        text(hostOf(stack, inside)).replace('\r\n', `\r\nauthorization: Bearer ${stack.key}\r\n`),
        /\r\n\r\n/,
      )
      expect(answer).toMatch(/^HTTP\/1\.1 400 /)
      expect(seen).toEqual([])
      socket.destroy()
    })

    it('a port where nothing listens, and says how to start', async () => {
      const closed = createServer()
      const free = await listening(closed)
      await new Promise((resolve) => closed.close(resolve))
      const answer = await askPort(stack, free, { headers: bearer() })
      expect([answer.status, answer.headers['x-atoll-error']]).toEqual([502, 'connection_refused'])
      expect(answer.text).toContain(`nothing listens on port ${free} of ${stack.id}`)
    })

    it('and waits for a sandbox that is about to run, up to its limit', async () => {
      await expect.poll(() => ports.open, { timeout: 2_000 }).toBe(0)
      const waking = new AtollError('state_conflict', 'it is resuming', {
        retryable: true,
        sandboxState: 'resuming',
      })
      ports.refuseNext(waking, 3)
      expect((await ask()).status).toBe(200)
      await expect.poll(() => ports.open, { timeout: 2_000 }).toBe(0)
      ports.refuseNext(waking, 10_000)
      const began = performance.now()
      expect((await ask()).headers['x-atoll-error']).toBe('state_conflict')
      expect(performance.now() - began).toBeGreaterThan(1_400)
      const stopped = new AtollError('state_conflict', 'it is stopped', { sandboxState: 'stopped' })
      ports.refuseNext(stopped, 1)
      const answer = await ask({ headers: { accept: 'text/html' } })
      expect(answer.status).toBe(409)
      expect(answer.text).toContain('atoll sandbox resume')
    })

    it('ended and unknown sandboxes by their names', async () => {
      const made = (await (await stack.raw('POST', '/v1/sandboxes', { runtime: 'simulated' })).json()) as {
        id: string
      }
      const { token } = (await (
        await stack.raw('POST', `/v1/sandboxes/${made.id}/ports/${inside}/links`, {})
      ).json()) as { token: string }
      const headers = { 'x-atoll-port-token': token }
      const other = { port: stack.port, id: made.id }
      expect((await askPort(other, inside, { headers })).status).toBe(200)
      await stack.raw('DELETE', `/v1/sandboxes/${made.id}`)
      const gone = await askPort(other, inside, { headers })
      expect([gone.status, gone.headers['x-atoll-error']]).toEqual([410, 'sandbox_ended'])
      expect(gone.text).toContain('deleted')
      expect((await askPort(other, inside)).status).toBe(401)
      // The name of the ended one is no other's: the id stays its own.
      expect((await askPort(stack, inside, { headers })).status).toBe(403)
      const unknown = { port: stack.port, id: 'sbx_aaaaaaaaaaaaaaaaaaaa' }
      expect((await askPort(unknown, inside, { headers: bearer() })).status).toBe(404)
    })
  })
})
