import { Command } from 'commander'
import { progress } from '../../output/progress.ts'
import { size } from '../../output/table.ts'
import { perform } from '../../perform.ts'

interface Flags {
  readonly name?: string
  readonly disk?: boolean
}

export const snapshotCreateCommand = (): Command =>
  new Command('create')
    .description('save a sandbox with memory, processes and files, and say the id; it goes on as it was')
    .argument('<sandbox>', 'sandbox')
    .option('--name <name>', 'a name for it, unique in the project')
    .option('--disk', 'the files alone: what is made of it boots')
    .action((id: string, flags: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        using shown = progress(`saving ${id}`, print.json)
        const kind = flags.disk === true ? 'disk' : 'memory'
        const snapshot = await sandbox.snapshot({ kind, name: flags.name })
        shown[Symbol.dispose]()
        const still = `${id} stood still for ${Math.round(snapshot.pausedMs)} ms`
        print.note(`${kind} of ${size(snapshot.sizeBytes)}; ${still}`)
        print.result(snapshot, () => snapshot.id)
      }),
    )
