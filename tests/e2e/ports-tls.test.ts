import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect as connectHttp2, type ClientHttp2Session, constants } from 'node:http2'
import { Agent } from 'node:https'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { reapLeftovers } from '../stack/reap-leftovers.ts'
import { shareTemplates } from '../stack/share-templates.ts'
import { until } from './call.ts'
import { small } from './drill.ts'
import { echoServer, hotServer } from './port-programs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const domain = 'atoll.test'

/** A certificate of its own for the domain and everything below it. */
const makeCertificate = (folder: string, name: string): void => {
  const subject = ['-subj', `/CN=${domain}`, '-addext', `subjectAltName=DNS:${domain},DNS:*.${domain}`]
  const files = ['-keyout', join(folder, `${name}.key`), '-out', join(folder, `${name}.pem`)]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...kind, ...files, ...subject], { stdio: 'pipe' })
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
}

describe('TLS of its own', () => {
  let folder: string
  let daemon: ChildProcess
  let port: number
  let apiKey: string
  let session: ClientHttp2Session
  let id: string
  beforeAll(async () => {
    folder = await mkdtemp('/tmp/atoll-')
    await shareTemplates(folder)
    for (const name of ['one', 'two']) makeCertificate(folder, name)
    await copyFile(join(folder, 'one.pem'), join(folder, 'cert.pem'))
    await copyFile(join(folder, 'one.key'), join(folder, 'key.pem'))
    const tls = [
      '--domain',
      domain,
      '--tls-cert',
      join(folder, 'cert.pem'),
      '--tls-key',
      join(folder, 'key.pem'),
    ]
    const args = ['standalone/src/main.ts', 'up', '--json', '--data', folder, '--port', '0', ...tls]
    daemon = spawn(process.execPath, args, { cwd: root, env: { ...process.env, HOME: folder } })
    const told = await new Promise<string>((resolve, reject) => {
      let said = ''
      daemon.stderr?.on('data', (chunk) => (said += String(chunk)))
      daemon.stdout?.once('data', (chunk) => resolve(String(chunk)))
      daemon.once('exit', () => reject(new Error(`the daemon ended: ${said}`)))
    })
    const { url, apiKey: key } = JSON.parse(told) as { url: string; apiKey: string }
    expect(url).toMatch(new RegExp(`^https://${domain}:\\d+$`))
    port = Number(new URL(url).port)
    apiKey = key
    session = connectHttp2(`https://127.0.0.1:${port}`, {
      ca: readFileSync(join(folder, 'one.pem')),
      servername: domain,
    })
    const body = JSON.stringify({ runtime: 'container', limits: small })
    const made = await ask('POST', '/v1/sandboxes', { body, headers: { 'content-type': 'application/json' } })
    id = (JSON.parse(made.text) as { id: string }).id
    for (const [program, inside] of [
      [echoServer, 3000],
      [hotServer, 3002],
    ] as const)
      await serve(program, inside)
  })
  afterAll(async () => {
    if (id !== undefined) await ask('DELETE', `/v1/sandboxes/${id}`)
    session?.destroy()
    if (daemon?.exitCode === null) {
      const ended = new Promise((resolve) => daemon.once('exit', resolve))
      daemon.kill('SIGTERM')
      await ended
    }
    await reapLeftovers(folder)
    await rm(folder, { recursive: true, force: true })
  })

  /** Over the one HTTP/2 connection; `host` makes it a port's. */
  const ask = (
    method: string,
    path: string,
    options: { body?: string | Buffer; headers?: Record<string, string>; host?: string } = {},
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${apiKey}`, ...options.headers }
      const authority = `${options.host ?? domain}:${port}`
      const stream = session.request(
        { ':method': method, ':path': path, ':authority': authority, ...headers },
        { endStream: options.body === undefined },
      )
      let answered: Record<string, unknown> = {}
      const chunks: Buffer[] = []
      stream.once('response', (seen) => (answered = seen))
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.once('error', reject)
      stream.once('end', () =>
        resolve({
          status: Number(answered[':status']),
          headers: answered,
          text: Buffer.concat(chunks).toString(),
        }),
      )
      if (options.body !== undefined) stream.end(options.body)
    })
  const hostOf = (inside: number): string => `${inside}-${id.replace('_', '-')}.${domain}`

  const serve = async (program: string, inside: number): Promise<void> => {
    const body = JSON.stringify({ argv: ['python3', '-c', program, String(inside)] })
    const headers = { 'content-type': 'application/json' }
    await ask('POST', `/v1/sandboxes/${id}/processes`, { body, headers })
    await until(`port ${inside} listens`, 20_000, async () =>
      (await ask('GET', '/', { host: hostOf(inside) })).status === 200 ? true : undefined,
    )
  }

  it('serves the API over HTTP/2, files included', async () => {
    expect(session.alpnProtocol).toBe('h2')
    const bytes = Buffer.alloc(3 * 1024 ** 2, 'atoll')
    const path = `/v1/sandboxes/${id}/files?path=/tmp/file`
    expect((await ask('PUT', path, { body: bytes })).status).toBe(200)
    expect((await ask('GET', path)).text).toBe(bytes.toString())
    expect((await ask('GET', '/v1/nothing')).status).toBe(404)
  })

  it('serves ports over HTTP/2, each request as its own stream', async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        ask('POST', `/n${n}`, {
          host: hostOf(3000),
          body: `body ${n}`,
          headers: { 'content-length': String(`body ${n}`.length) },
        }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 200))
    const seen = JSON.parse(answers[7]?.text ?? '') as { path: string; headers: [string, string][] }
    expect(seen.path).toBe('/n7')
    const headers = Object.fromEntries(seen.headers.map(([name, value]) => [name.toLowerCase(), value]))
    expect(headers).toMatchObject({ host: 'localhost:3000', 'x-forwarded-proto': 'https' })
    expect(JSON.stringify(seen)).not.toContain(apiKey)
  })

  it('lets go of the sandbox when a client resets its stream, read or unread', async () => {
    const holders = async () => {
      const { text } = await ask('GET', `/v1/sandboxes/${id}/lifecycle`)
      const { holders: all } = JSON.parse(text) as { holders: { kind: string; name: string }[] }
      return all.filter(({ kind }) => kind === 'connection').length
    }
    const headers = {
      ':path': '/big',
      ':authority': `${hostOf(3000)}:${port}`,
      authorization: `Bearer ${apiKey}`,
    }
    const streams = Array.from({ length: 10 }, () => session.request(headers))
    for (const stream of streams) stream.on('error', () => undefined)
    await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once('response', resolve))))
    // Half of them read for a while, the others nothing: their windows are full.
    for (const stream of streams.slice(5)) stream.resume()
    await until('those that read nothing hold it', 10_000, async () =>
      (await holders()) > 0 ? true : undefined,
    )
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL)
    await until('none holds it', 10_000, async () => ((await holders()) === 0 ? true : undefined))
    expect((await ask('GET', '/after', { host: hostOf(3000) })).status).toBe(200)
  })

  it('gives a browser a cookie that only https and this name can have', async () => {
    const made = await ask('POST', `/v1/sandboxes/${id}/ports/3000/links`, {
      body: '{}',
      headers: { 'content-type': 'application/json' },
    })
    const { url } = JSON.parse(made.text) as { url: string }
    expect(url).toMatch(new RegExp(`^https://${hostOf(3000)}:${port}/\\?atoll_token=`))
    const { pathname, search } = new URL(url)
    const headers = { accept: 'text/html', authorization: '' }
    const first = await ask('GET', pathname + search, { host: hostOf(3000), headers })
    expect(first).toMatchObject({ status: 303, headers: { location: `https://${hostOf(3000)}:${port}/` } })
    const cookie = String(first.headers['set-cookie'])
    expect(cookie).toMatch(/^__Host-atoll_port_token=.*; Path=\/; .*HttpOnly; SameSite=Lax; Secure/)
    const again = { authorization: '', cookie: cookie.split(';')[0] ?? '' }
    expect((await ask('GET', '/', { host: hostOf(3000), headers: again })).status).toBe(200)
    expect((await ask('GET', '/', { host: hostOf(3002), headers: again })).status).toBe(403)
  })

  it('carries a WebSocket over HTTP/1.1 on the same port', async () => {
    const agent = new Agent({ ca: readFileSync(join(folder, 'one.pem')), servername: domain })
    const headers = { host: `${hostOf(3002)}:${port}`, authorization: `Bearer ${apiKey}` }
    const socket = new WebSocket(`wss://127.0.0.1:${port}/hot`, { agent, headers })
    const first = await new Promise<string>((resolve, reject) => {
      socket.once('message', (data: Buffer) => resolve(data.toString()))
      socket.once('error', reject)
    })
    expect(first).toBe('one')
    socket.terminate()
  })

  it('takes up a renewed certificate, and keeps the former one when the files do not fit', async () => {
    const fingerprint = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connectTls(
          { host: '127.0.0.1', port, servername: domain, rejectUnauthorized: false },
          () => {
            resolve(socket.getPeerCertificate().fingerprint256)
            socket.destroy()
          },
        )
        socket.once('error', reject)
      })
    const before = await fingerprint()
    // The certificate is another, the key still the old one: no pair.
    await copyFile(join(folder, 'two.pem'), join(folder, 'cert.pem'))
    await until('the fault is in the log', 15_000, () =>
      readFileSync(join(folder, 'daemon.log'), 'utf8').includes('cannot be used') ? true : undefined,
    )
    expect(await fingerprint()).toBe(before)
    await writeFile(join(folder, 'key.pem'), readFileSync(join(folder, 'two.key')))
    await until('the new one is in force', 15_000, async () =>
      (await fingerprint()) === before ? undefined : true,
    )
    expect((await ask('GET', '/v1/health')).status, 'open connections go on').toBe(200)
  })
})
