import { Command } from 'commander'
import { exitCodes } from '../../exit-code.ts'
import { size } from '../../output/table.ts'
import { perform } from '../../perform.ts'
import { snapshotIdOf } from './find.ts'

export const snapshotDeleteCommand = (): Command =>
  new Command('delete')
    .alias('rm')
    .description('delete snapshots; sandboxes that were made from them go on')
    .argument('<snapshot...>', 'ids or names')
    .action((names: string[], _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        let failed = false
        for (const name of names) {
          try {
            const gone = await atoll.snapshots.delete(await snapshotIdOf(atoll, name, signal))
            print.item(gone, () => `${gone.id} deleted: ${size(gone.freedBytes)} freed`)
          } catch (error) {
            failed = true
            print.error(error)
          }
        }
        return failed ? exitCodes.ownFailure : 0
      }),
    )
