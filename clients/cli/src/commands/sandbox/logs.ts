import type { SandboxEvent } from '@atoll/sdk'
import { Command } from 'commander'
import { codeOfExit } from '../../exit-code.ts'
import { passThrough } from '../../pass-through.ts'
import { perform } from '../../perform.ts'

export const sandboxLogsCommand = (): Command =>
  new Command('logs')
    .description('print what happened to a sandbox, or what a process in it printed')
    .argument('<id>', 'sandbox')
    .argument('[process]', 'a process’s id: its output to its end; the exit code is its')
    .option('--follow', 'go on with what happens')
    .action((id: string, process_: string | undefined, flags: { follow?: boolean }, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        if (process_ !== undefined) {
          const passed = await passThrough(sandbox.process(process_), {
            stdin: false,
            keep: print.json,
            signal,
          })
          if (print.json) print.result({ sandbox: id, process: process_, ...passed }, () => '')
          return codeOfExit(passed.exit)
        }
        for await (const event of sandbox.events({ follow: flags.follow, signal }))
          print.item(event, () => line(event))
        return 0
      }),
    )

const line = (event: SandboxEvent): string => {
  const data = Object.keys(event.data).length === 0 ? '' : ` ${JSON.stringify(event.data)}`
  return `${new Date(event.atMs).toISOString()} ${event.type}${data}`
}
