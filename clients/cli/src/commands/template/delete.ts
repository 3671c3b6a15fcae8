import { Command } from 'commander'
import { perform } from '../../perform.ts'

export const templateDeleteCommand = (): Command =>
  new Command('delete')
    .alias('rm')
    .description('delete a template; refused while a sandbox stands on it')
    .argument('<name>', 'template, by name or id')
    .action((name: string, _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        await atoll.templates.delete(name, { signal })
        print.result({ name, deleted: true }, () => `${name} deleted`)
      }),
    )
