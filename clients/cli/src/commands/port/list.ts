import type { Port } from '@atoll/sdk'
import { Command } from 'commander'
import { table } from '../../output/table.ts'
import { perform } from '../../perform.ts'

export const portListCommand = (): Command =>
  new Command('list')
    .alias('ls')
    .description('list the ports whose settings are not the default, which is private')
    .argument('<sandbox>', 'sandbox')
    .action((id: string, _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        const ports = await sandbox.ports.list({ signal })
        print.result(ports, () => listing(ports))
      }),
    )

const listing = (ports: readonly Port[]): string =>
  ports.length === 0
    ? 'no port was set: all are private, and `atoll port link` opens one'
    : table(
        ['PORT', 'ACCESS', 'HOST SEEN INSIDE', 'URL'],
        ports.map(({ port, access, maskHost, url }) => [
          String(port),
          access,
          maskHost ? `localhost:${port}` : 'the public one',
          url,
        ]),
      )
