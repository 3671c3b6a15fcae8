import { AtollError } from '@atoll/sdk'
import { Command } from 'commander'
import { perform } from '../../perform.ts'
import { parsePort } from './port-number.ts'

interface Flags {
  readonly public?: boolean
  readonly private?: boolean
  readonly publicHost?: boolean
}

export const portOpenCommand = (): Command =>
  new Command('open')
    .description('set who may reach a port, and show where it is')
    .argument('<sandbox>', 'sandbox')
    .argument('<port>', 'port inside', parsePort)
    .option('--public', 'for anyone who can reach this Atoll')
    .option('--private', 'for keys, tokens and links only; cuts who came without')
    .option('--public-host', 'the server inside sees the public host name instead of localhost')
    .action((id: string, port: number, flags: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        if ((flags.public === true) === (flags.private === true))
          throw new AtollError('invalid_request', 'cannot set the port: give --public or --private')
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        const access = flags.public === true ? ('public' as const) : ('private' as const)
        const set = await sandbox.ports.set(port, { access, maskHost: flags.publicHost !== true }, { signal })
        print.result(set, () => set.url)
        if (set.access === 'public') print.note('Anyone who can reach this Atoll can reach it now.')
      }),
    )
