import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Link, makeLink } from './link.ts'
import type { Parsed } from './output.ts'

/** The release build, or another that is being worked on. */
export const agentBinary =
  process.env['ATOLL_TEST_AGENT'] ?? join(import.meta.dirname, '../target/release/atoll-agent')

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  json(): Parsed
}

/** A running agent with a session, and the calls that tests make. */
export interface RunningAgent extends AsyncDisposable {
  readonly folder: string
  readonly link: Link
  readonly session: ClientHttp2Session
  readonly log: () => string
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  reopen(): Promise<void>
}

export interface AgentOptions {
  /** `cgroup2` where the host has it, or none, so that supervisors are used. */
  readonly containment?: 'cgroup2' | 'supervisor'
  readonly adopt?: Record<string, unknown> | false
  /** As in the container runtime: set-user-id programs get nothing. */
  readonly noNewPrivileges?: boolean
  /** Descriptors that the agent itself may hold. */
  readonly openFiles?: number
}

const cgroupRoots = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup']

/** The agent as PID 1 of namespaces of its own, with an /etc that it may change. */
export const startAgent = async (options: AgentOptions = {}): Promise<RunningAgent> => {
  const folder = mkdtempSync(join(tmpdir(), 'atoll-agent-'))
  const logPath = join(folder, 'agent.log')
  const cgroup = options.containment === 'supervisor' ? undefined : makeCgroup(folder)
  for (const name of ['upper', 'work']) mkdirSync(join(folder, name))
  const script = `ip link set lo up && mount -t tmpfs none ${folder}/work && mkdir ${folder}/work/u ${folder}/work/w &&
    mount -t overlay overlay -o lowerdir=/etc,upperdir=${folder}/work/u,workdir=${folder}/work/w /etc &&
    exec ${options.noNewPrivileges ? 'setpriv --no-new-privs ' : ''}${options.openFiles === undefined ? '' : `prlimit --nofile=${options.openFiles} `}${agentBinary} --no-root-setup`
  const child = spawn('unshare', ['-p', '-f', '-m', '-u', '-n', '--mount-proc', 'sh', '-c', script], {
    stdio: ['pipe', 'pipe', openSync(logPath, 'a')],
    env: { PATH: process.env.PATH, ...(cgroup === undefined ? {} : { ATOLL_CGROUP2_DIR: cgroup }) },
  })
  if (child.stdin === null || child.stdout === null) throw new Error('no pipes to the agent')
  const link = makeLink(child.stdin, child.stdout)
  let session = await link.open()
  const agent: RunningAgent = {
    folder,
    link,
    get session() {
      return session
    },
    log: () => readFileSync(logPath, 'utf8'),
    call: (method, path, body, headers) => call(session, method, path, body, headers),
    reopen: async () => {
      session.destroy()
      session = await link.open()
    },
    [Symbol.asyncDispose]: async () => {
      session.destroy()
      await stop(child)
      if (cgroup !== undefined) removeCgroup(cgroup)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  if (options.adopt !== false) {
    const answer = await agent.call('POST', '/v1/adopt', { ...identity(), ...options.adopt })
    if (answer.status !== 200) throw new Error(`adopt: ${answer.body.toString()}`)
  }
  return agent
}

export const identity = () => ({
  sandboxId: 'sbx_test',
  hostname: 'box',
  timeUnixMs: Date.now(),
  entropy: Buffer.from('entropy').toString('base64'),
  env: { LANG: 'C.UTF-8' },
  limits: {},
  defaultUser: 'root',
})

/** One request, answered whole. */
export const call = (
  session: ClientHttp2Session,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const bytes = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body))
    const length = bytes === undefined ? {} : { 'content-length': bytes.length }
    const stream = session.request(
      { ':method': method, ':path': path, ':authority': 'guest', ...length, ...headers },
      { endStream: bytes === undefined },
    )
    const chunks: Buffer[] = []
    let received: IncomingHttpHeaders = {}
    stream.on('response', (answered) => {
      received = answered
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', reject)
    stream.on('close', () => {
      if (stream.rstCode !== 0 || received[':status'] === undefined)
        return reject(new Error(`${method} ${path}: stream ended with code ${stream.rstCode}`))
      const whole = Buffer.concat(chunks)
      resolve({
        status: Number(received[':status']),
        headers: received,
        body: whole,
        json: () => JSON.parse(whole.toString()),
      })
    })
    if (bytes !== undefined) stream.end(bytes)
  })

const makeCgroup = (folder: string): string | undefined => {
  for (const root of cgroupRoots) {
    try {
      readFileSync(join(root, 'cgroup.procs'))
      const own = join(root, folder.slice(folder.lastIndexOf('/') + 1))
      mkdirSync(own)
      readFileSync(join(own, 'cgroup.events'))
      return own
    } catch {}
  }
  return undefined
}

const removeCgroup = (folder: string): void => {
  try {
    rmdirSync(folder)
  } catch {
    // Groups of processes that died with the agent's namespace are still below.
    for (let number = 1; number < 10_000; number += 1) {
      try {
        rmdirSync(join(folder, `p${number}`))
      } catch {}
    }
    rmdirSync(folder)
  }
}

const stop = async (child: ChildProcess): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  const inner = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
  for (const pid of inner.split(' ').filter(Boolean)) process.kill(Number(pid), 'SIGKILL')
  await ended
}
