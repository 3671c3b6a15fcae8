import { spawn } from 'node:child_process'
import { AtollError, scrub } from '@atoll/protocol'

/** Bytes kept of what a tool answers. */
const toolAnswerBytes = 64 * 1024
/** Bytes kept of a tool's standard error. */
export const toolErrorBytes = 16 * 1024

/** One run of a program to its end. */
export interface ToolRun {
  /** For errors: `cannot ${act}: …`. */
  readonly act: string
  readonly command: readonly [string, ...string[]]
  readonly environment?: Readonly<Record<string, string>>
  /** A file descriptor to read from; nothing otherwise. */
  readonly stdin?: number
  /** A descriptor that the program gets as its fourth, number 3. */
  readonly extra?: number
  readonly signal: AbortSignal
  /** Lines of standard error as they come. */
  readonly onLine?: (line: string) => void
  /** Exit codes that are an answer and no failure. */
  readonly accept?: readonly number[]
}

/** What a program said. */
export interface ToolAnswer {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const quietEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' }

/** Runs a program of the host, bounded in time and in what it may say. Another end than accepted is an error. */
export const runTool = async (run: ToolRun): Promise<ToolAnswer> => {
  run.signal.throwIfAborted()
  const [program, ...args] = run.command
  const child = spawn(program, args, {
    stdio: [run.stdin ?? 'ignore', 'pipe', 'pipe', ...(run.extra === undefined ? [] : [run.extra])],
    env: { ...quietEnvironment, ...run.environment },
    // `rm` must not hold a folder that it removes, and no tool needs ours.
    cwd: '/',
  })
  const kill = () => child.kill('SIGKILL')
  run.signal.addEventListener('abort', kill, { once: true })
  try {
    const { stdout: output, stderr: errors } = child
    if (output === null || errors === null) throw new AtollError('internal', `cannot ${run.act}: no pipes`)
    const stdout = collect(output, toolAnswerBytes)
    const stderr = collect(errors, toolErrorBytes, run.onLine)
    const end = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve({ code, signal }))
    })
    run.signal.throwIfAborted()
    const answer = { stdout: stdout(), stderr: stderr() }
    if (end.code !== null && (end.code === 0 || run.accept?.includes(end.code))) {
      return { code: end.code, ...answer }
    }
    const how = end.code === null ? `was ended by ${end.signal}` : `failed with exit code ${end.code}`
    throw new AtollError('internal', `cannot ${run.act}: ${program} ${how}: ${lastLines(answer.stderr)}`)
  } catch (error) {
    run.signal.throwIfAborted()
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new AtollError('runtime_unavailable', `cannot ${run.act}: ${program} is not installed`, {
        cause: error,
        remedy: `install ${program} on the host`,
      })
    }
    throw error
  } finally {
    run.signal.removeEventListener('abort', kill)
  }
}

/** Keeps the last bytes of a stream, and passes on its lines. */
const collect = (
  stream: NodeJS.ReadableStream,
  limitBytes: number,
  onLine?: (line: string) => void,
): (() => string) => {
  let kept = ''
  let line = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    kept = (kept + text).slice(-limitBytes)
    if (onLine === undefined) return
    const lines = (line + text).split('\n')
    line = (lines.pop() ?? '').slice(-limitBytes)
    for (const whole of lines) onLine(scrub(whole))
  })
  return () => kept
}

/** The end of what a tool said: the reason stands there. */
export const lastLines = (text: string): string =>
  scrub(text.trim().split('\n').slice(-5).join(' | ').slice(-1_000))
