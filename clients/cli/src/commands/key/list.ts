import type { Key } from '@atoll/sdk'
import { Command } from 'commander'
import { span, table } from '../../output/table.ts'
import { perform } from '../../perform.ts'

export const keyListCommand = (): Command =>
  new Command('list')
    .alias('ls')
    .description('list API keys')
    .action((_flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const found: Key[] = []
        for await (const key of atoll.keys.list({ signal })) found.push(key)
        print.result(found, () => listing(found, Date.now()))
      }),
    )

const listing = (found: readonly Key[], now: number): string =>
  table(
    ['ID', 'NAME', 'STATE', 'LAST USED', 'SCOPES'],
    found.map((key) => [
      key.id,
      key.name,
      key.revokedAtMs === null ? 'valid' : 'revoked',
      key.lastUsedAtMs === null ? 'never' : `${span(now - key.lastUsedAtMs)} ago`,
      key.scopes.join(' '),
    ]),
  )
