import { AtollError } from '@atoll/protocol'
import { execa } from 'execa'

/** One run of a host tool. */
export interface HostCommand {
  /** For errors: `cannot ${act}: …`. */
  readonly act: string
  readonly file: string
  readonly args: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** Nothing of the daemon's environment goes to a tool. */
  readonly env?: Readonly<Record<string, string>>
}

/** How it ended by itself; a signal or a timeout rejects. */
export interface HostAnswer {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Bytes kept of each stream: tools answer in lines. */
const outputBytes = 256 * 1024
const toolPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Runs a tool of the host to its end. A tool that is not there, hangs or is killed is an error. */
export const run = async (command: HostCommand): Promise<HostAnswer> => {
  command.signal.throwIfAborted()
  const result = await execa(command.file, command.args, {
    reject: false,
    stdin: 'ignore',
    cwd: '/',
    env: { PATH: toolPath, LC_ALL: 'C.UTF-8', ...command.env },
    extendEnv: false,
    timeout: command.timeoutMs,
    cancelSignal: command.signal,
    forceKillAfterDelay: 1_000,
    maxBuffer: outputBytes,
  })
  command.signal.throwIfAborted()
  const { exitCode, stdout, stderr } = result
  if (exitCode !== undefined && !result.timedOut && !result.isMaxBuffer) return { exitCode, stdout, stderr }
  if (result.code === 'ENOENT')
    throw new AtollError('runtime_unavailable', `cannot ${command.act}: ${command.file} is not installed`, {
      remedy: `install ${command.file}`,
    })
  const how = result.timedOut ? `did not end in ${command.timeoutMs} ms` : (result.shortMessage ?? 'failed')
  throw new AtollError('internal', `cannot ${command.act}: ${command.file} ${how}`, { cause: result })
}

/** As `run`, and another exit code than 0 is an error with the tool's last words. */
export const runOk = async (command: HostCommand): Promise<HostAnswer> => {
  const answer = await run(command)
  if (answer.exitCode === 0) return answer
  const said = answer.stderr.trim().slice(-1_000)
  throw new AtollError(
    'internal',
    `cannot ${command.act}: ${command.file} ended with code ${answer.exitCode}: ${said}`,
  )
}
