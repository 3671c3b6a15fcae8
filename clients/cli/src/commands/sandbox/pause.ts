import { Command } from 'commander'
import { perform } from '../../perform.ts'
import { eachSandbox } from './each.ts'

export const sandboxPauseCommand = (): Command =>
  new Command('pause')
    .description('keep memory, processes and files as they are, on disk; the next call resumes')
    .argument('<id...>', 'sandboxes')
    .option('--frozen', 'in memory instead: back in milliseconds, lost with the host')
    .action((ids: string[], flags: { frozen?: boolean }, command: Command) =>
      perform(command, (work) =>
        eachSandbox(work, ids, (sandbox) =>
          sandbox.pause({ depth: flags.frozen === true ? 'frozen' : 'stored', signal: work.signal }),
        ),
      ),
    )
