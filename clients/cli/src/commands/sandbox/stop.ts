import { Command } from 'commander'
import { perform } from '../../perform.ts'
import { eachSandbox } from './each.ts'

export const sandboxStopCommand = (): Command =>
  new Command('stop')
    .description('keep the disk and free the rest; processes end')
    .argument('<id...>', 'sandboxes')
    .action((ids: string[], _flags: unknown, command: Command) =>
      perform(command, (work) => eachSandbox(work, ids, (sandbox) => sandbox.stop({ signal: work.signal }))),
    )
