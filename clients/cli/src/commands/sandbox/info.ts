import type { Lifecycle, SandboxInfo } from '@atoll/sdk'
import { Command } from 'commander'
import { table } from '../../output/table.ts'
import { perform } from '../../perform.ts'
import { stateOf } from './each.ts'

export const sandboxInfoCommand = (): Command =>
  new Command('info')
    .description('show a sandbox: state, isolation, limits, what keeps it alive')
    .argument('<id>', 'sandbox')
    .action((id: string, _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        const lifecycle = sandbox.info.ended === null ? await sandbox.lifecycle({ signal }) : null
        print.result({ ...sandbox.info, lifecycle }, () => describe(sandbox.info, lifecycle))
      }),
    )

const describe = (info: SandboxInfo, lifecycle: Lifecycle | null): string => {
  const { isolation, limits, ended } = info
  return table(
    ['SANDBOX', info.id],
    [
      ['state', ended === null ? stateOf(info) : `${stateOf(info)}: ${ended.message}`],
      ['isolation', `${isolation.runtime} (${isolation.strength}): ${isolation.description}`],
      ...isolation.notes.map((note) => ['', note]),
      ['template', `${info.template} (${info.imageDigest})`],
      ...(info.snapshot === null ? [] : [['snapshot', info.snapshot]]),
      ...(info.parent === null ? [] : [['forked from', info.parent]]),
      ['generation', String(info.generation)],
      [
        'limits',
        `${limits.cpuMillis / 1_000} CPU, ${limits.memoryMib} MiB memory, ${limits.diskMib} MiB disk, ${limits.processes} processes`,
      ],
      ['network', info.network],
      ['created', new Date(info.createdAtMs).toISOString()],
      ['expires', `${new Date(info.expiresAtMs).toISOString()} (then ${info.onTimeout})`],
      ...(lifecycle === null ? [] : [['alive', lifecycle.explanation]]),
    ],
  )
}
