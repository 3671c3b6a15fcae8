import { AtollError } from '@atoll/sdk'
import { Command } from 'commander'
import { codeOfExit } from '../../exit-code.ts'
import { perform } from '../../perform.ts'

const defaultSize = { columns: 80, rows: 24 }

export const sandboxShellCommand = (): Command =>
  new Command('shell')
    .description('open a terminal in a sandbox')
    .argument('<id>', 'sandbox')
    .option('--user <name>', 'user inside')
    .action((id: string, flags: { user?: string }, command: Command) =>
      perform(command, async ({ atoll }) => {
        const { stdin, stdout } = process
        if (stdin.isTTY !== true)
          throw new AtollError(
            'invalid_request',
            'a shell needs a terminal here; use `atoll sandbox exec` for scripts',
          )
        const sandbox = await atoll.sandboxes.connect(id)
        // A terminal that does not know its size says 0, which no program inside could use.
        const size = (): { columns: number; rows: number } => ({
          columns: stdout.columns || defaultSize.columns,
          rows: stdout.rows || defaultSize.rows,
        })
        const terminal = await sandbox.pty({
          ...size(),
          user: flags.user,
          onData: (data) => void stdout.write(data),
        })
        const keys = (data: Buffer): void => terminal.write(data)
        const resized = (): void => terminal.resize(size())
        // Raw: Ctrl-C is a key for the program inside, not for us.
        stdin.setRawMode(true)
        stdin.on('data', keys)
        stdout.on('resize', resized)
        try {
          return codeOfExit(await terminal.exited)
        } finally {
          stdin.setRawMode(false)
          stdin.off('data', keys)
          stdin.pause()
          stdout.off('resize', resized)
          await terminal.close()
        }
      }),
    )
