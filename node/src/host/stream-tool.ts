import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { AtollError, scrub } from '@atoll/protocol'
import { lastLines, toolErrorBytes } from './run-tool.ts'

/** One run of a program whose output is too large to keep. */
export interface ToolStream {
  /** For errors: `cannot ${act}: …`. */
  readonly act: string
  readonly command: readonly [string, ...string[]]
  readonly environment: Readonly<Record<string, string>>
  readonly input: string
  /** Installs it, where it is missing. */
  readonly remedy: string
  readonly signal: AbortSignal
  readonly onErrorText: (text: string) => void
}

/** Starts a program and hands its output to `consume`; done when both have ended well. */
export const streamTool = async <T>(
  run: ToolStream,
  consume: (output: Readable) => Promise<T>,
): Promise<T> => {
  const [program, ...args] = run.command
  const child = spawn(program, args, {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8', ...run.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd: '/',
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const stop = () => child.kill('SIGTERM')
  run.signal.addEventListener('abort', stop, { once: true })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = (log + text).slice(-toolErrorBytes)
    run.onErrorText(scrub(text.trim()))
  })
  try {
    child.stdin.on('error', () => {}) // A program that is missing or dies early says so by its end.
    child.stdin.end(run.input)
    const [result, code] = await Promise.all([consume(child.stdout), ended])
    run.signal.throwIfAborted()
    if (code !== 0)
      throw new AtollError('internal', `cannot ${run.act}: ${program} failed: ${lastLines(log)}`)
    return result
  } catch (error) {
    run.signal.throwIfAborted()
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      throw new AtollError('runtime_unavailable', `cannot ${run.act}: ${program} is not installed`, {
        cause: error,
        remedy: run.remedy,
      })
    throw error
  } finally {
    run.signal.removeEventListener('abort', stop)
  }
}
