import type { Snapshot } from '@atoll/sdk'
import { Command } from 'commander'
import { size, span, table } from '../../output/table.ts'
import { perform } from '../../perform.ts'

interface Flags {
  readonly sandbox?: string
  readonly quiet?: boolean
}

export const snapshotListCommand = (): Command =>
  new Command('list')
    .alias('ls')
    .description('list snapshots')
    .option('--sandbox <id>', 'only those of this sandbox')
    .option('-q, --quiet', 'ids only')
    .action((flags: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const found: Snapshot[] = []
        const filter = { sandbox: flags.sandbox, signal }
        for await (const snapshot of atoll.snapshots.list(filter)) found.push(snapshot)
        print.result(found, () =>
          flags.quiet === true ? found.map(({ id }) => id).join('\n') : listing(found, Date.now()),
        )
      }),
    )

const listing = (found: readonly Snapshot[], now: number): string =>
  found.length === 0
    ? 'no snapshots'
    : table(
        ['ID', 'KIND', 'SIZE', 'AGE', 'SANDBOX', 'TEMPLATE', 'NAME'],
        found.map((snapshot) => [
          snapshot.id,
          snapshot.kind,
          size(snapshot.sizeBytes),
          span(now - snapshot.createdAtMs),
          snapshot.sandbox,
          snapshot.template,
          snapshot.name ?? '',
        ]),
      )
