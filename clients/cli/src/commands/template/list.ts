import type { Template } from '@atoll/sdk'
import { Command } from 'commander'
import { size, span, table } from '../../output/table.ts'
import { perform } from '../../perform.ts'

export const templateListCommand = (): Command =>
  new Command('list')
    .alias('ls')
    .description('list templates')
    .action((_flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const found: Template[] = []
        for await (const template of atoll.templates.list({ signal })) found.push(template)
        print.result(found, () => listing(found, Date.now()))
      }),
    )

const listing = (found: readonly Template[], now: number): string =>
  table(
    ['NAME', 'ID', 'SIZE', 'AGE', 'IMAGE'],
    found.map((template) => [
      template.name,
      template.id,
      size(template.sizeBytes),
      span(now - template.createdAtMs),
      template.imageDigest.slice(0, 19),
    ]),
  )
