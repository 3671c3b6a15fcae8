import { Command } from 'commander'
import { perform } from '../../perform.ts'

export const keyRevokeCommand = (): Command =>
  new Command('revoke')
    .description('revoke an API key, in force at once')
    .argument('<id>', 'key, like key_…')
    .action((id: string, _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        await atoll.keys.revoke(id, { signal })
        print.result({ id, revoked: true }, () => `${id} revoked`)
      }),
    )
