import { Command } from 'commander'
import { perform } from '../perform.ts'
import { runStandalone } from '../local/standalone.ts'

export const upCommand = (): Command =>
  new Command('up')
    .description('start Atoll on this machine: all tiers in one process, on loopback')
    .option('--data <folder>', 'data folder')
    .option('--port <port>', 'port on 127.0.0.1')
    .option('--listen <host:port>', 'address other than loopback: whoever reaches it needs a key')
    .option('--domain <name>', 'name of this server for clients; *.<name> leads to the ports of sandboxes')
    .option(
      '--tls-cert <file>',
      'certificate chain (PEM) for the domain and *.<domain>; read anew when it changes',
    )
    .option('--tls-key <file>', 'its key (PEM)')
    .option('--pool <count>', 'sandboxes of base that wait, frozen, for a create; 0 for none')
    .option('--log-level <level>', 'of the log in the data folder')
    .action((_options: unknown, command: Command) =>
      perform(command, () => runStandalone('up', command.optsWithGlobals())),
    )
