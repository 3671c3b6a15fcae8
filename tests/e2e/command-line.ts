import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Stack } from '../stack/start-stack.ts'

const atoll = fileURLToPath(new URL('../../clients/cli/atoll', import.meta.url))
/** Longest that one command may take, ms. */
const commandTimeoutMs = 60_000
const outputBytes = 16 * 1024 ** 2

export interface CommandResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Called with what came on stdout so far, and a way to signal the child. */
  readonly onOutput?: (stdout: string, signal: (name: NodeJS.Signals) => void) => void
}

/** Runs the CLI as a user would: a real child process against a stack, its exit code and what it printed. */
export const atollCommand = async (
  stack: Pick<Stack, 'url' | 'apiKey' | 'dataFolder'>,
  argv: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> =>
  await new Promise((resolve, reject) => {
    const child = spawn(atoll, argv, {
      cwd: options.cwd,
      env: commandEnv(stack, options.env),
      timeout: commandTimeoutMs,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8')
    child.stderr.setEncoding('utf8')
    child.stdout.on('data', (text: string) => {
      stdout += text
      if (stdout.length > outputBytes) child.kill('SIGKILL')
      options.onOutput?.(stdout, (name) => child.kill(name))
    })
    child.stderr.on('data', (text: string) => (stderr += text))
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })

/** The environment of a user who has this stack configured and nothing else of ours. */
export const commandEnv = (
  stack: Pick<Stack, 'url' | 'apiKey' | 'dataFolder'>,
  env: Readonly<Record<string, string>> = {},
): NodeJS.ProcessEnv => ({
  PATH: process.env['PATH'],
  HOME: '/nonexistent',
  NO_COLOR: '1',
  // Without them the CLI reads what `up` saved below HOME.
  ...(stack.url === '' ? {} : { ATOLL_URL: stack.url, ATOLL_API_KEY: stack.apiKey }),
  ...env,
})

/** Path of the CLI, for programs that start it themselves. */
export const atollPath = atoll
