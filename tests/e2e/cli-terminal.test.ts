import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createSandbox, deleteSandbox } from './call.ts'
import { atollPath, commandEnv } from './command-line.ts'
import { type Drill, livingSandboxes, realRuntimes, small, startDrill } from './drill.ts'

const dialogue = fileURLToPath(new URL('terminal-dialogue.py', import.meta.url))
const dialogueTimeoutMs = 60_000

/** What is waited for, and what is typed then. */
type Turn = readonly [expect: string, type: string]

describe('the command line on a terminal', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  it.each(realRuntimes)(
    'opens a shell: prompt, echo, size, Ctrl-C to the program inside, exit code (%s)',
    async (runtime) => {
      const sandbox = await createSandbox(drill.stack, { runtime, limits: small })
      const { transcript, code } = await onTerminal(
        ['sandbox', 'shell', sandbox.id],
        [
          ['$ ', 'stty size; echo "tty is $(tty)"\r'],
          // The interrupt is typed once the program runs: before that it is the shell's own.
          ['tty is /dev/pts/', 'sh -c "echo begun-$((1 + 1)); sleep 100"\r'],
          ['begun-2', '\x03'],
          ['$ ', 'echo "still $((40 + 2))"\r'],
          ['still 42', 'exit 17\r'],
        ],
      )
      expect(transcript).toContain('33 101')
      expect(code).toBe(17)
      await deleteSandbox(drill.stack, sandbox.id)
      expect(await drill.difference()).toEqual({})
    },
  )

  it('ends a run at Ctrl-C that is typed', async () => {
    const { code } = await onTerminal(
      ['run', '--memory', '256M', '--', 'sh', '-c', 'echo begun; sleep 100'],
      [['begun', '\x03']],
    )
    expect(code).toBe(130)
    expect(await livingSandboxes(drill.stack)).toEqual([])
    expect(await drill.difference()).toEqual({})
  })

  /** Python's pty is the terminal: 33 rows, 101 columns. */
  const onTerminal = async (
    argv: readonly string[],
    turns: readonly Turn[],
  ): Promise<{ transcript: string; code: number }> => {
    const child = spawn('python3', [dialogue, JSON.stringify(turns), atollPath, ...argv], {
      env: { ...commandEnv(drill.stack), TERM: 'xterm' },
      timeout: dialogueTimeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
    const ended = await new Promise((resolve) => child.once('close', resolve))
    if (ended !== 0) throw new Error(`the dialogue ended with ${String(ended)}: ${errors}\n${output}`)
    return JSON.parse(output) as { transcript: string; code: number }
  }
})
