import type { Command } from 'commander'
import type { CreateOptions, RuntimeName } from '@atoll/sdk'
import { parseCpu, parseDuration, parseMib, parsePair } from '../parse.ts'
import type { Work } from '../perform.ts'
import { snapshotIdOf } from './snapshot/find.ts'

/** Options of everything that creates a sandbox. */
export interface SandboxFlags {
  readonly template?: string
  readonly snapshot?: string
  readonly runtime?: RuntimeName
  readonly memory?: number
  readonly cpu?: number
  readonly disk?: number
  readonly env?: Record<string, string>
  readonly user?: string
  readonly workdir?: string
}

export const withSandboxFlags = (command: Command): Command =>
  command
    .option('-t, --template <name>', 'template to create it from; default base')
    .option('--snapshot <id>', 'snapshot, by id or name, to go on from instead')
    .option('--runtime <name>', 'isolation: gvisor or container; default: the strongest there is')
    .option('--memory <size>', 'memory, like 512M or 2G', parseMib)
    .option('--cpu <count>', 'CPUs, like 0.5 or 2', parseCpu)
    .option('--disk <size>', 'disk, like 512M or 2G', parseMib)
    .option('-e, --env <NAME=value>', 'variable for the sandbox; can be repeated', parsePair)
    .option('--user <name>', 'user inside')
    .option('--workdir <path>', 'working directory inside')

/** The body of create. */
export const createOptionsOf = async (
  { atoll, signal }: Work,
  flags: SandboxFlags,
  timeoutMs: number | undefined,
): Promise<CreateOptions> => ({
  ...(flags.template === undefined ? {} : { template: flags.template }),
  ...(flags.snapshot === undefined ? {} : { snapshot: await snapshotIdOf(atoll, flags.snapshot, signal) }),
  ...(flags.runtime === undefined ? {} : { runtime: flags.runtime }),
  ...(flags.env === undefined ? {} : { env: flags.env }),
  ...(flags.user === undefined ? {} : { user: flags.user }),
  ...(flags.workdir === undefined ? {} : { workdir: flags.workdir }),
  ...(timeoutMs === undefined ? {} : { timeoutMs }),
  limits: {
    ...(flags.memory === undefined ? {} : { memoryMib: flags.memory }),
    ...(flags.cpu === undefined ? {} : { cpuMillis: flags.cpu }),
    ...(flags.disk === undefined ? {} : { diskMib: flags.disk }),
  },
})

/** Options of everything that runs a command in a sandbox that is there. */
export interface ProcessFlags {
  readonly timeout?: number
  readonly env?: Record<string, string>
  readonly user?: string
  readonly workdir?: string
}

export const withProcessFlags = (command: Command): Command =>
  command
    .option('--timeout <duration>', 'kills the command after this long; exit code 124', parseDuration)
    .option('-e, --env <NAME=value>', 'variable for the command; can be repeated', parsePair)
    .option('--user <name>', 'user inside')
    .option('--workdir <path>', 'working directory inside')
