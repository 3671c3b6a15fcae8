import { Command } from 'commander'
import { exitCodes } from '../../exit-code.ts'
import { progress } from '../../output/progress.ts'
import { parseCount, parseDuration } from '../../parse.ts'
import { perform } from '../../perform.ts'

interface Flags {
  readonly count: number
  readonly timeout?: number
}

export const sandboxForkCommand = (): Command =>
  new Command('fork')
    .description('copy a sandbox with memory, processes and files, and say the ids of the copies')
    .argument('<id>', 'sandbox')
    .option('-n, --count <number>', 'copies, at most 64', parseCount, 1)
    .option(
      '--timeout <duration>',
      'their time to live, like 30m; default: that of the sandbox',
      parseDuration,
    )
    .action((id: string, { count, timeout }: Flags, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const parent = await atoll.sandboxes.connect(id, { signal })
        using shown = progress(`forking ${id}`, print.json)
        // Not cut short by Ctrl-C: copies that nobody waits for would be copies that nobody knows.
        const { children, pausedMs } = await parent.forkResults({ count, timeoutMs: timeout })
        shown[Symbol.dispose]()
        print.note(`${id} stood still for ${Math.round(pausedMs)} ms`)
        for (const child of children)
          if (child.ok) print.item(child.sandbox.info, () => child.sandbox.id)
          else print.error(child.error)
        return children.every((child) => child.ok) ? 0 : exitCodes.ownFailure
      }),
    )
