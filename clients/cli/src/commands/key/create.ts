import type { Scope } from '@atoll/sdk'
import { Command } from 'commander'
import { gather } from '../../parse.ts'
import { perform } from '../../perform.ts'

const usual: readonly Scope[] = ['sandboxes:read', 'sandboxes:write', 'templates:read']

export const keyCreateCommand = (): Command =>
  new Command('create')
    .description('create an API key; its secret is shown once')
    .argument('<name>', 'what it is for')
    .option('-s, --scope <scope>', `what it may do; can be repeated; default ${usual.join(', ')}`, gather)
    .option('--project <id>', 'for another project (admin)')
    .action((name: string, flags: { scope?: Scope[]; project?: string }, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const scopes = flags.scope ?? usual
        const project = flags.project === undefined ? {} : { project: flags.project }
        const key = await atoll.keys.create({ name, scopes, ...project }, { signal })
        print.note(`${key.id} (${key.scopes.join(', ')}); the secret is not shown again:`)
        print.result(key, () => key.secret)
      }),
    )
