import { Command } from 'commander'
import { runStandalone } from '../local/standalone.ts'
import { perform } from '../perform.ts'

export const doctorCommand = (): Command =>
  new Command('doctor')
    .description('look whether this machine can run Atoll, by doing; names what mends it')
    .option('--data <folder>', 'data folder')
    .option('--port <port>', 'port on 127.0.0.1')
    .action((_options: unknown, command: Command) =>
      perform(command, () => runStandalone('doctor', command.optsWithGlobals())),
    )
