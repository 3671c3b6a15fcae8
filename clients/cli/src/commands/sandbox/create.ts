import type { CreateOptions, LeaseAction } from '@atoll/sdk'
import { Command, Option } from 'commander'
import { progress } from '../../output/progress.ts'
import { parseDuration, parsePair } from '../../parse.ts'
import { perform } from '../../perform.ts'
import { createOptionsOf, type SandboxFlags, withSandboxFlags } from '../options.ts'

interface Flags extends SandboxFlags {
  readonly timeout?: number
  readonly name?: string
  readonly label?: Record<string, string>
  readonly onTimeout?: LeaseAction
  readonly idle?: number
  readonly idleAction: LeaseAction
  readonly autoResume: boolean
}

export const sandboxCreateCommand = (): Command =>
  withSandboxFlags(
    new Command('create')
      .description('create a sandbox and say its id')
      .option('--timeout <duration>', 'its time to live, like 30m; default 1h', parseDuration)
      .option('--name <name>', 'a name for it')
      .option('-l, --label <key=value>', 'a label; can be repeated', parsePair)
      .addOption(actionOption('--on-timeout <action>', 'what its time to live ends with; default delete'))
      .option('--idle <duration>', 'act when nobody has held it for so long, like 5m', parseDuration)
      .addOption(actionOption('--idle-action <action>', 'what that act is').default('pause'))
      .option('--no-auto-resume', 'a call to it while it is paused is refused instead of resuming it'),
  ).action((flags: Flags, command: Command) =>
    perform(command, async (work) => {
      const { atoll, print, signal } = work
      const options = await createOptionsOf(work, flags, flags.timeout)
      using shown = progress('creating a sandbox', print.json)
      const sandbox = await atoll.sandboxes.create({
        ...options,
        ...leaseOf(flags),
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

const actionOption = (flags: string, description: string): Option =>
  new Option(flags, description).choices(['delete', 'stop', 'pause'] satisfies LeaseAction[])

const leaseOf = ({ onTimeout, idle, idleAction, autoResume }: Flags): CreateOptions => ({
  ...(onTimeout === undefined ? {} : { onTimeout }),
  ...(idle === undefined ? {} : { idle: { afterMs: idle, action: idleAction } }),
  autoResume,
})
