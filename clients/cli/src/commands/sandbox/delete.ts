import type { Receipt } from '@atoll/sdk'
import { Command } from 'commander'
import { exitCodes } from '../../exit-code.ts'
import { perform } from '../../perform.ts'

export const sandboxDeleteCommand = (): Command =>
  new Command('delete')
    .alias('rm')
    .description('end sandboxes and free all they hold')
    .argument('<id...>', 'sandboxes')
    .action((ids: string[], _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print }) => {
        let failed = false
        for (const id of ids) {
          try {
            const sandbox = await atoll.sandboxes.connect(id)
            const receipt = await sandbox.delete()
            print.item({ id, receipt }, () => `${id} deleted: ${describe(receipt)}`)
          } catch (error) {
            // The others are still wanted gone.
            failed = true
            print.error(error)
          }
        }
        return failed ? exitCodes.ownFailure : 0
      }),
    )

const describe = ({ processes, cgroups, mounts, files, durationMs }: Receipt): string =>
  `${processes} processes, ${cgroups} cgroups, ${mounts} mounts, ${files} files in ${Math.round(durationMs)} ms`
