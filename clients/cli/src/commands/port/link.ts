import { Command } from 'commander'
import { span } from '../../output/table.ts'
import { parseDuration } from '../../parse.ts'
import { perform } from '../../perform.ts'
import { parsePort } from './port-number.ts'

interface Flags {
  readonly expires: number
  readonly path: string
}

export const portLinkCommand = (): Command =>
  new Command('link')
    .description('make a link that opens one port for a while')
    .argument('<sandbox>', 'sandbox')
    .argument('<port>', 'port inside', parsePort)
    .option('--expires <duration>', 'how long it is good for: 1s to 7d', parseDuration, 3_600_000)
    .option('--path <path>', 'path that it opens', '/')
    .action((id: string, port: number, { expires, path }: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        const link = await sandbox.ports.link(port, { expiresInMs: expires, path, signal })
        print.result(link, () => link.url)
        print.note(`Whoever has it can open port ${port} for ${span(expires)}.`)
      }),
    )
