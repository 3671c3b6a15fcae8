import { Command } from 'commander'
import { codeOfExit } from '../../exit-code.ts'
import { passThrough } from '../../pass-through.ts'
import { perform } from '../../perform.ts'
import { type ProcessFlags, withProcessFlags } from '../options.ts'

interface Flags extends ProcessFlags {
  readonly detach?: boolean
}

export const sandboxExecCommand = (): Command =>
  withProcessFlags(
    new Command('exec')
      .description('run a command in a sandbox; the exit code is the command’s')
      .argument('<id>', 'sandbox')
      .argument('<command...>', 'program and arguments, after --')
      .option('-d, --detach', 'come back at once and say the process’s id'),
  )
    .passThroughOptions()
    .action((id: string, words: string[], flags: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        // After the first argument the parser leaves `--` to us.
        const argv = words[0] === '--' ? words.slice(1) : words
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        const stdin = flags.detach !== true && process.stdin.isTTY !== true
        const started = await sandbox.start(argv, {
          stdin: stdin ? 'pipe' : 'none',
          env: flags.env,
          user: flags.user,
          cwd: flags.workdir,
          timeoutMs: flags.timeout,
          signal,
        })
        if (flags.detach === true) {
          print.result({ sandbox: id, process: started.id }, () => started.id)
          return 0
        }
        try {
          const passed = await passThrough(started, { stdin, keep: print.json, signal })
          if (print.json) print.result({ sandbox: id, process: started.id, ...passed }, () => '')
          return codeOfExit(passed.exit)
        } catch (error) {
          if (signal.aborted) await started.kill().catch((failed: unknown) => print.error(failed))
          throw error
        }
      }),
    )
