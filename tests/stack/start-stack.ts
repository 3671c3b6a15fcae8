import { type ChildProcess, spawn } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Atoll } from '@atoll/sdk'
import { reapLeftovers } from './reap-leftovers.ts'
import { shareTemplates } from './share-templates.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const entry = join(root, 'standalone/src/main.ts')

/** Longest wait for the daemon to answer /v1/health, ms. The base image is shared, so nothing is built. */
const readyTimeoutMs = 60_000
/** Longest wait for the daemon to end after SIGTERM, ms. */
const stopTimeoutMs = 15_000

export interface StackOptions {
  /** A folder that a former stack left, with its sandboxes; absent: a new one. */
  readonly dataFolder?: string
  /** Laid over the environment of the daemon: planted secrets, fault switches. */
  readonly env?: Readonly<Record<string, string>>
  readonly args?: readonly string[]
}

/** A whole Atoll in a child process: control, gateway and node on a free loopback port. */
export interface Stack extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly apiKey: string
  readonly dataFolder: string
  readonly atoll: Atoll
  /** Of the daemon that runs now. */
  readonly pid: number
  /** What the daemon printed so far, all its lives together. */
  output(): string
  /** kill -9: the sandboxes stay. */
  crash(): Promise<void>
  /** SIGTERM: the sandboxes stay. Answers the exit code. */
  stop(): Promise<number | null>
  /**
   * Starts a daemon on the same folder and port, after crash() or stop(). `through` is an argv before its own
   * that must end in exec, so that the pid stays that of the daemon.
   */
  restart(how?: { readonly through?: readonly string[] }): Promise<void>
}

/** Starts `standalone up` on a temporary data folder; disposing ends every sandbox and removes the folder. */
export const startStack = async (options: StackOptions = {}): Promise<Stack> => {
  if (process.getuid?.() !== 0) throw new Error('cannot start a stack: it needs root; run the tests as root')
  // Unix sockets live below it, and their paths are limited to 107 bytes.
  const dataFolder = options.dataFolder ?? (await mkdtemp('/tmp/atoll-'))
  if (options.dataFolder === undefined) await shareTemplates(dataFolder)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  let daemon = await launch(dataFolder, port, options).catch(async (error: unknown) => {
    // Nobody gets a handle that could remove it.
    if (options.dataFolder === undefined) await rm(dataFolder, { recursive: true, force: true })
    throw error
  })
  const apiKey = readApiKey(dataFolder)
  const atoll = new Atoll({ baseUrl: url, apiKey })
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> => {
    const child = daemon
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
    child.kill(signal)
    const late = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
    return await ended.finally(() => clearTimeout(late))
  }
  return {
    url,
    port,
    apiKey,
    dataFolder,
    atoll,
    get pid() {
      return daemon.pid ?? 0
    },
    output: () => readFileSync(outputPath(dataFolder), 'utf8'),
    crash: async () => void (await end('SIGKILL')),
    stop: () => end('SIGTERM'),
    restart: async ({ through = [] } = {}) => {
      daemon = await launch(dataFolder, port, options, through)
    },
    [Symbol.asyncDispose]: async () => {
      await deleteAll(url, apiKey)
      await end('SIGTERM')
      await reapLeftovers(dataFolder)
      await rm(dataFolder, { recursive: true, force: true })
    },
  }
}

const outputPath = (dataFolder: string): string => join(dataFolder, 'up-output.txt')

const launch = async (
  dataFolder: string,
  port: number,
  options: StackOptions,
  through: readonly string[] = [],
): Promise<ChildProcess> => {
  // A file, not a pipe: the daemon's life must not hang on who reads its output.
  const output = openSync(outputPath(dataFolder), 'a', 0o600)
  const args = ['up', '--data', dataFolder, '--port', String(port), ...(options.args ?? [])]
  const [program, ...before] = [...through, process.execPath, entry, ...args]
  const child = spawn(program ?? process.execPath, before, {
    cwd: root,
    env: { ...process.env, HOME: dataFolder, NO_COLOR: '1', ...options.env },
    stdio: ['ignore', output, output],
  })
  const deadline = Date.now() + readyTimeoutMs
  while (!(await healthy(port))) {
    const gone = child.exitCode !== null || child.signalCode !== null
    if (gone || Date.now() > deadline) {
      child.kill('SIGKILL')
      const said = readFileSync(outputPath(dataFolder), 'utf8').slice(-4_000)
      throw new Error(`the stack ${gone ? 'ended before it answered' : 'did not answer in time'}: ${said}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return child
}

const healthy = async (port: number): Promise<boolean> => {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/health`, { signal: AbortSignal.timeout(2_000) })
    await answer.arrayBuffer()
    return answer.status === 200
  } catch {
    return false
  }
}

/** `up` saves the first key for the local CLI, below HOME, which is the data folder here. */
const readApiKey = (dataFolder: string): string => {
  const path = join(dataFolder, '.config/atoll/config.json')
  const config = JSON.parse(readFileSync(path, 'utf8')) as { apiKey?: unknown }
  if (typeof config.apiKey !== 'string') throw new Error(`no apiKey in ${path}`)
  return config.apiKey
}

/** By plain fetch: the tear-down must not stand on the SDK that it may be testing. */
const deleteAll = async (url: string, apiKey: string): Promise<void> => {
  const headers = { authorization: `Bearer ${apiKey}` }
  const answer = await fetch(`${url}/v1/sandboxes?limit=500`, { headers }).catch(() => undefined)
  if (answer?.status !== 200) return
  const page = (await answer.json()) as { sandboxes?: { id: string; state: string }[] }
  const living = (page.sandboxes ?? []).filter(({ state }) => state !== 'ended')
  await Promise.allSettled(
    living.map(({ id }) => fetch(`${url}/v1/sandboxes/${id}`, { method: 'DELETE', headers })),
  )
}

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no free loopback port')
  return address.port
}

/** Names below `sandboxes/` in a data folder: what a stack has not removed yet. */
export const sandboxFolders = async (dataFolder: string): Promise<string[]> =>
  await readdir(join(dataFolder, 'sandboxes')).catch(() => [])
