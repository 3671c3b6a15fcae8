/** For tests: Debian's docker-registry on loopback, and a token service before it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

export const whyNoRegistry = (): string | undefined =>
  existsSync('/usr/bin/docker-registry') && existsSync('/usr/bin/skopeo')
    ? undefined
    : 'apt-get install docker-registry skopeo'

/** The one login that the registry knows; the hash is bcrypt's, as docker-registry wants it. */
export const login = { username: 'diver', password: 'opensesame' }
const htpasswd = 'diver:$2b$04$tpenw.zPh/flYOBx8JAFC.elM5PVf/6npyQwLFWIYRcRv9fGCdXz6\n'

export interface TestRegistry extends AsyncDisposable {
  /** 127.0.0.1 and its port. */
  readonly host: string
}

export const startRegistry = async (
  folder: string,
  options: { login?: boolean } = {},
): Promise<TestRegistry> => {
  const host = `127.0.0.1:${await freePort()}`
  const auth = `auth:\n  htpasswd:\n    realm: test\n    path: ${join(folder, 'htpasswd')}\n`
  writeFileSync(join(folder, 'htpasswd'), htpasswd)
  const config = `version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ${join(folder, 'registry')}\nhttp:\n  addr: ${host}\n${options.login === true ? auth : ''}`
  const path = join(folder, 'registry.yml')
  writeFileSync(path, config)
  const child = spawn('docker-registry', ['serve', path], { stdio: 'ignore', env: { PATH: '/usr/bin' } })
  await ready(host, child)
  return {
    host,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.kill('SIGTERM')) await once(child, 'exit')
    },
  }
}

/** Asks for a Bearer token for everything, gives one for the login, and passes on to the registry. */
export const startTokenFront = async (
  registry: TestRegistry,
): Promise<{ host: string; requests: IncomingMessage[] } & AsyncDisposable> => {
  const requests: IncomingMessage[] = []
  const token = 'a-token-of-the-test'
  let host = ''
  const basic = `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    requests.push(request)
    if (request.url?.startsWith('/token?') === true) {
      if (request.headers.authorization !== basic) return void response.writeHead(401).end()
      return void response.writeHead(200).end(JSON.stringify({ token }))
    }
    if (request.headers.authorization !== `Bearer ${token}`) {
      const challenge = `Bearer realm="http://${host}/token",service="test",scope="repository:x:pull"`
      return void response.writeHead(401, { 'www-authenticate': challenge }).end()
    }
    // As a storage service would be: elsewhere, and not to be shown the token.
    if (request.url?.includes('/blobs/') === true) {
      return void response.writeHead(307, { location: `http://${registry.host}${request.url}` }).end()
    }
    const behind = await fetch(`http://${registry.host}${request.url}`, {
      headers: { accept: request.headers.accept ?? '' },
    })
    const type = behind.headers.get('content-type') ?? ''
    response.writeHead(behind.status, { 'content-type': type }).end(Buffer.from(await behind.arrayBuffer()))
  }
  const server = createServer((request, response) => void answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    host,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

const freePort = async (): Promise<number> => {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

const ready = async (host: string, child: ChildProcess): Promise<void> => {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`)
    const answer = await fetch(`http://${host}/v2/`).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer !== undefined) return
    await delay(50)
  }
  throw new Error('docker-registry does not answer')
}
