import { Command } from 'commander'
import { perform } from '../../perform.ts'
import { eachSandbox } from './each.ts'

export const sandboxResumeCommand = (): Command =>
  new Command('resume')
    .alias('start')
    .description('bring paused sandboxes back as they were, and stopped ones by a boot on their disk')
    .argument('<id...>', 'sandboxes')
    .action((ids: string[], _flags: unknown, command: Command) =>
      perform(command, (work) =>
        eachSandbox(work, ids, (sandbox) => sandbox.resume({ signal: work.signal })),
      ),
    )
