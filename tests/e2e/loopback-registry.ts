import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { until } from './call.ts'

/** A real registry on loopback that lives as long as the test. */
export interface LoopbackRegistry extends AsyncDisposable {
  /** Host and port, as a reference begins. */
  readonly host: string
  readonly username: string
  readonly password: string
}

/** Starts Debian's docker-registry; with `locked` it asks for a name and a password. */
export const startRegistry = async (options: { locked: boolean }): Promise<LoopbackRegistry> => {
  const folder = mkdtempSync('/tmp/atoll-registry-')
  const host = `127.0.0.1:${await freePort()}`
  const [username, password] = ['drill', 'open sesame']
  const accounts = join(folder, 'accounts')
  // A registry takes bcrypt only; Debian's libcrypt makes one with the fixed salt that a test may have.
  const hash = execFileSync(
    'perl',
    ['-e', 'print crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu))', password],
    { encoding: 'utf8' },
  )
  writeFileSync(accounts, `${username}:${hash}\n`)
  const config = {
    version: 0.1,
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: join(folder, 'storage') } },
    http: { addr: host, secret: 'of this test' },
    ...(options.locked ? { auth: { htpasswd: { realm: 'drill', path: accounts } } } : {}),
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config))
  const log = join(folder, 'log')
  const output = openSync(log, 'a')
  const registry = spawn('docker-registry', ['serve', join(folder, 'config.yml')], {
    stdio: ['ignore', output, output],
  })
  registry.on('error', () => undefined)
  await until('the registry answers', 20_000, async () => {
    if (registry.exitCode !== null) throw new Error(`the registry ended: ${readFileSync(log, 'utf8')}`)
    return await fetch(`http://${host}/v2/`).then(
      (answer) => (answer.status === (options.locked ? 401 : 200) ? true : undefined),
      () => undefined,
    )
  })
  return {
    host,
    username,
    password,
    [Symbol.asyncDispose]: async () => {
      await end(registry)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** The oracle: another implementation of registries and images. */
export const skopeo = (...args: readonly string[]): string =>
  execFileSync('skopeo', ['--insecure-policy', ...args], { encoding: 'utf8', timeout: 60_000 })

const end = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free loopback port')
  return address.port
}
