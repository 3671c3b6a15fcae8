import { Command } from 'commander'
import { progress } from '../../output/progress.ts'
import { parseDuration, parsePair } from '../../parse.ts'
import { perform } from '../../perform.ts'
import { createOptionsOf, type SandboxFlags, withSandboxFlags } from '../options.ts'

interface Flags extends SandboxFlags {
  readonly timeout?: number
  readonly name?: string
  readonly label?: Record<string, string>
}

export const sandboxCreateCommand = (): Command =>
  withSandboxFlags(
    new Command('create')
      .description('create a sandbox and say its id')
      .option('--timeout <duration>', 'its time to live, like 30m; default 1h', parseDuration)
      .option('--name <name>', 'a name for it')
      .option('-l, --label <key=value>', 'a label; can be repeated', parsePair),
  ).action((flags: Flags, command: Command) =>
    perform(command, async ({ atoll, print, signal }) => {
      using shown = progress('creating a sandbox', print.json)
      const sandbox = await atoll.sandboxes.create({
        ...createOptionsOf(flags, flags.timeout),
        ...(flags.name === undefined ? {} : { name: flags.name }),
        ...(flags.label === undefined ? {} : { labels: flags.label }),
      })
      // Waited for even after Ctrl-C: else it would be there, and nobody would know its id.
      if (signal.aborted) {
        await sandbox.delete()
        throw signal.reason
      }
      shown[Symbol.dispose]()
      print.note(`${sandbox.isolation.runtime}: ${sandbox.isolation.description}`)
      print.result(sandbox.info, () => sandbox.id)
    }),
  )
