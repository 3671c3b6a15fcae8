import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import type { Sandbox } from '@atoll/sdk'
import { Command } from 'commander'
import { codeOfExit } from '../exit-code.ts'
import { progress } from '../output/progress.ts'
import { gather, parseDuration } from '../parse.ts'
import { passThrough } from '../pass-through.ts'
import { perform, type Work } from '../perform.ts'
import { createOptionsOf, type SandboxFlags, withSandboxFlags } from './options.ts'

interface RunFlags extends SandboxFlags {
  readonly timeout?: number
  readonly file?: string[]
  readonly keep?: boolean
}

/** Time that a sandbox outlives its command's deadline: files go in before, and the end is told after. */
const leaseMarginMs = 120_000

export const runCommand = (): Command =>
  withSandboxFlags(
    new Command('run')
      .description('create a sandbox, run one command in it, delete it; the exit code is the command’s')
      .argument('<command...>', 'program and arguments, after --')
      .option('--timeout <duration>', 'kills the command after this long; exit code 124', parseDuration)
      .option('-f, --file <local[:remote]>', 'file to put into the sandbox first; can be repeated', gather)
      .option('--keep', 'leave the sandbox running and say its id'),
  )
    .passThroughOptions()
    .action((argv: string[], flags: RunFlags, command: Command) =>
      perform(command, (tools) => run(tools, argv, flags)),
    )

const run = async (tools: Work, argv: readonly string[], flags: RunFlags): Promise<number> => {
  const leaseMs = flags.timeout === undefined ? undefined : flags.timeout + leaseMarginMs
  const sandbox = await create(tools, flags, leaseMs)
  let done = false
  try {
    for (const file of flags.file ?? []) await putFile(sandbox, file)
    const stdin = process.stdin.isTTY !== true
    const started = await sandbox.start(argv, {
      stdin: stdin ? 'pipe' : 'none',
      timeoutMs: flags.timeout,
      signal: tools.signal,
    })
    const { json } = tools.print
    const passed = await passThrough(started, { stdin, keep: json, signal: tools.signal })
    if (json) tools.print.result({ sandbox: sandbox.id, isolation: sandbox.isolation, ...passed }, () => '')
    done = true
    return codeOfExit(passed.exit)
  } finally {
    if (flags.keep === true) tools.print.note(`sandbox ${sandbox.id} goes on`)
    else await remove(sandbox, tools, done)
  }
}

const create = async (tools: Work, flags: RunFlags, leaseMs: number | undefined): Promise<Sandbox> => {
  const options = await createOptionsOf(tools, flags, leaseMs)
  using shown = progress(
    `creating a sandbox from ${flags.snapshot ?? flags.template ?? 'base'}`,
    tools.print.json,
  )
  shown.say('starting it')
  // Not cut short by Ctrl-C: a create that nobody waits for would leave a sandbox that nobody knows.
  return await tools.atoll.sandboxes.create(options)
}

const putFile = async (sandbox: Sandbox, file: string): Promise<void> => {
  const at = file.lastIndexOf(':')
  const [local, remote] = at <= 0 ? [file, basename(file)] : [file.slice(0, at), file.slice(at + 1)]
  await sandbox.files.write(remote, createReadStream(local), { parents: true })
}

/** A failed delete must not hide what the command said, nor be hidden: the sandbox would live to its deadline. */
const remove = async (sandbox: Sandbox, tools: Work, done: boolean): Promise<void> => {
  try {
    await sandbox.delete()
  } catch (error) {
    if (done) throw error
    tools.print.error(error)
  }
}
