import type { SandboxInfo, SandboxState } from '@atoll/sdk'
import { Command } from 'commander'
import { span, table } from '../../output/table.ts'
import { parsePair } from '../../parse.ts'
import { perform } from '../../perform.ts'
import { stateOf } from './each.ts'

interface Flags {
  readonly state?: SandboxState
  readonly label?: Record<string, string>
  readonly template?: string
  readonly quiet?: boolean
}

export const sandboxListCommand = (): Command =>
  new Command('list')
    .alias('ls')
    .description('list sandboxes; ended ones with --state ended')
    .option('--state <state>', 'only those in this state')
    .option('-l, --label <key=value>', 'only those with this label; can be repeated', parsePair)
    .option('-t, --template <name>', 'only those from this template')
    .option('-q, --quiet', 'ids only')
    .action((flags: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const filter = { state: flags.state, labels: flags.label, template: flags.template, signal }
        const found: SandboxInfo[] = []
        for await (const sandbox of atoll.sandboxes.list(filter)) found.push(sandbox)
        print.result(found, () =>
          flags.quiet === true ? found.map(({ id }) => id).join('\n') : listing(found, Date.now()),
        )
      }),
    )

const listing = (found: readonly SandboxInfo[], now: number): string =>
  found.length === 0
    ? 'no sandboxes'
    : table(
        ['ID', 'STATE', 'TEMPLATE', 'RUNTIME', 'AGE', 'ENDS', 'NAME'],
        found.map((sandbox) => [
          sandbox.id,
          stateOf(sandbox),
          sandbox.template,
          sandbox.isolation.runtime,
          span(now - sandbox.createdAtMs),
          sandbox.ended === null
            ? `in ${span(sandbox.expiresAtMs - now)}`
            : `${span(now - sandbox.ended.atMs)} ago`,
          sandbox.name ?? '',
        ]),
      )
