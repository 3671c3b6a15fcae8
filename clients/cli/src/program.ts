import { Command } from 'commander'
import { completionCommand } from './commands/completion.ts'
import { cpCommand } from './commands/cp.ts'
import { doctorCommand } from './commands/doctor.ts'
import { keyCreateCommand } from './commands/key/create.ts'
import { keyListCommand } from './commands/key/list.ts'
import { keyRevokeCommand } from './commands/key/revoke.ts'
import { portForwardCommand } from './commands/port/forward.ts'
import { portLinkCommand } from './commands/port/link.ts'
import { portListCommand } from './commands/port/list.ts'
import { portOpenCommand } from './commands/port/open.ts'
import { runCommand } from './commands/run.ts'
import { sandboxCreateCommand } from './commands/sandbox/create.ts'
import { sandboxDeleteCommand } from './commands/sandbox/delete.ts'
import { sandboxExecCommand } from './commands/sandbox/exec.ts'
import { sandboxForkCommand } from './commands/sandbox/fork.ts'
import { sandboxInfoCommand } from './commands/sandbox/info.ts'
import { sandboxListCommand } from './commands/sandbox/list.ts'
import { sandboxLogsCommand } from './commands/sandbox/logs.ts'
import { sandboxPauseCommand } from './commands/sandbox/pause.ts'
import { sandboxResumeCommand } from './commands/sandbox/resume.ts'
import { sandboxShellCommand } from './commands/sandbox/shell.ts'
import { sandboxStopCommand } from './commands/sandbox/stop.ts'
import { snapshotCreateCommand } from './commands/snapshot/create.ts'
import { snapshotDeleteCommand } from './commands/snapshot/delete.ts'
import { snapshotListCommand } from './commands/snapshot/list.ts'
import { templateBuildCommand } from './commands/template/build.ts'
import { templateDeleteCommand } from './commands/template/delete.ts'
import { templateListCommand } from './commands/template/list.ts'
import { upCommand } from './commands/up.ts'
import { exitCodes } from './exit-code.ts'

/** Every command of the CLI. */
export const makeProgram = (): Command => {
  const program = new Command('atoll')
    .description('the self-hosted sandbox cloud for AI agents')
    .version('0.1.0')
    .option('--json', 'answer in JSON: results on stdout, errors on stderr')
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for what it takes)')
  const sandbox = new Command('sandbox')
    .enablePositionalOptions()
    .alias('sbx')
    .description('sandboxes: create, use, pause, fork, look, delete')
  const snapshot = new Command('snapshot').description('snapshots: create, list, delete')
  const template = new Command('template').description('templates: build, list, delete')
  const port = new Command('port').description('ports of sandboxes: forward, link, open, list')
  const key = new Command('key').description('API keys: create, list, revoke')
  add(sandbox, sandboxListCommand(), sandboxCreateCommand(), sandboxExecCommand(), sandboxShellCommand())
  add(sandbox, sandboxLogsCommand(), sandboxInfoCommand(), sandboxDeleteCommand())
  add(sandbox, sandboxPauseCommand(), sandboxResumeCommand(), sandboxStopCommand(), sandboxForkCommand())
  add(snapshot, snapshotCreateCommand(), snapshotListCommand(), snapshotDeleteCommand())
  add(template, templateBuildCommand(), templateListCommand(), templateDeleteCommand())
  add(port, portForwardCommand(), portLinkCommand(), portOpenCommand(), portListCommand())
  add(key, keyCreateCommand(), keyListCommand(), keyRevokeCommand())
  add(
    program,
    upCommand(),
    doctorCommand(),
    runCommand(),
    sandbox,
    snapshot,
    cpCommand(),
    port,
    template,
    key,
    completionCommand(),
  )
  forEach(program, (command) => {
    // Wrong usage is Atoll's own failure: `run` must not look as if the command inside had answered 1.
    command.exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : exitCodes.ownFailure))
    if (command !== program && command.commands.length === 0) command.option('--json', 'answer in JSON')
  })
  return program
}

const add = (parent: Command, ...children: Command[]): void => {
  for (const child of children) parent.addCommand(child)
}

const forEach = (command: Command, visit: (command: Command) => void): void => {
  visit(command)
  for (const child of command.commands) forEach(child, visit)
}
