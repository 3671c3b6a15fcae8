import { randomBytes } from 'node:crypto'
import { copyFile, chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { type ClientHttp2Session, connect } from 'node:http2'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Duplex } from 'node:stream'
import { AtollError, makeId } from '@atoll/protocol'
import { z } from 'zod'
import type { Machine, MachineLimits, MachineSpec, RuntimeName } from '../runtimes/driver.ts'
import { runOk } from './run.ts'
import { probePrefix, sweepProbes } from './sweep-probes.ts'

const limits: MachineLimits = {
  cpuMillis: 1_000,
  memoryBytes: 128 * 1024 ** 2,
  processes: 32,
  diskBytes: 64 * 1024 ** 2,
  openFiles: 1_024,
}
/** Ids far above the slots of sandboxes. */
const uidBase = 3_000_000_000
const toolTimeoutMs = 20_000
/** The host's own end of a probe that its daemon left. */
const deadlineMs = 60_000

/** Makes an image of nothing but the agent, boots it, has the agent run itself, and ends it. */
export const probeBoot = async (
  runtime: RuntimeName,
  { agentPath, launcherPath }: { readonly agentPath: string; readonly launcherPath: string },
  start: (spec: MachineSpec, signal: AbortSignal) => Promise<Machine>,
  signal: AbortSignal,
): Promise<void> => {
  await sweepProbes(runtime, launcherPath, signal)
  await using stack = new AsyncDisposableStack()
  const folder = stack.adopt(await mkdtemp(probePrefix(runtime)), (path) =>
    rm(path, { recursive: true, force: true }),
  )
  const imagePath = await agentImage(folder, agentPath, signal)
  const id = makeId('sbx', randomBytes(20))
  const directory = join(folder, id)
  await mkdir(directory, { mode: 0o700 })
  const deadlineUnixMs = Date.now() + deadlineMs
  const spec = { id, directory, imagePath, hostname: 'probe', limits, uidBase, deadlineUnixMs }
  const machine = stack.use(await start(spec, signal))
  await askAgent(id, await machine.connectGuest(signal), signal)
  await machine.destroy(signal)
}

/** Folders that every image has; see docs/reference/guest-protocol.md. */
const agentFolders = [
  '.atoll/disk',
  '.atoll/root',
  '.atoll/cgroup',
  'proc',
  'dev',
  'sys',
  'tmp',
  'etc',
  'run',
]

/** An EROFS file with the agent and the folders that it needs. */
export const agentImage = async (folder: string, agentPath: string, signal: AbortSignal): Promise<string> => {
  const root = join(folder, 'root')
  for (const name of agentFolders) await mkdir(join(root, name), { recursive: true, mode: 0o755 })
  await copyFile(agentPath, join(root, '.atoll/agent'))
  await chmod(join(root, '.atoll/agent'), 0o555)
  const image = join(folder, 'probe.erofs')
  await runOk({
    act: 'make the image of the probe',
    file: 'mkfs.erofs',
    args: ['-E', 'noinline_data', '--all-root', image, root],
    timeoutMs: toolTimeoutMs,
    signal,
  })
  return image
}

const recordSchema = z.object({ exit: z.object({ code: z.int().nullable() }).nullable() })

const askAgent = async (id: string, duplex: Duplex, signal: AbortSignal): Promise<void> => {
  const session = connect('http://guest', { createConnection: () => duplex })
  session.on('error', () => undefined)
  const close = (): void => session.destroy()
  signal.addEventListener('abort', close, { once: true })
  try {
    await ask(session, 'GET', '/v1/health')
    await ask(session, 'POST', '/v1/adopt', {
      sandboxId: id,
      hostname: 'probe',
      timeUnixMs: Date.now(),
      entropy: randomBytes(32).toString('base64'),
      env: {},
      limits: {
        memoryBytes: limits.memoryBytes,
        processes: limits.processes,
        diskBytes: limits.diskBytes,
        openFiles: limits.openFiles,
        cpuCount: 1,
      },
      defaultUser: '0',
      workdir: '/',
    })
    await ask(session, 'PUT', '/v1/processes/probe', {
      argv: ['/.atoll/agent', '--version'],
      user: '0',
      cwd: '/',
      stdin: 'none',
    })
    const { exit } = recordSchema.parse(await ask(session, 'GET', '/v1/processes/probe/wait'))
    if (exit?.code !== 0)
      throw new AtollError('exec_failed', `the command of the probe ended with ${JSON.stringify(exit)}`)
  } finally {
    signal.removeEventListener('abort', close)
    session.destroy()
    duplex.destroy()
  }
}

const answerTimeoutMs = 10_000

const ask = async (
  session: ClientHttp2Session,
  method: string,
  path: string,
  body?: object,
): Promise<unknown> => {
  const stream = session.request({ ':method': method, ':path': path, 'content-type': 'application/json' })
  stream.setTimeout(answerTimeoutMs, () => stream.destroy(new Error(`no answer in ${answerTimeoutMs} ms`)))
  let status = 0
  stream.once('response', (headers) => {
    status = Number(headers[':status'])
  })
  stream.end(body === undefined ? undefined : JSON.stringify(body))
  const answer = await text(stream).catch((error: unknown) => {
    throw new AtollError(
      'guest_unreachable',
      `cannot ${method} ${path} of the probe's agent: ${String(error)}`,
    )
  })
  if (status >= 200 && status < 300) return JSON.parse(answer)
  throw new AtollError(
    'guest_unreachable',
    `cannot ${method} ${path} of the probe's agent: ${status} ${answer.slice(0, 500)}`,
  )
}
