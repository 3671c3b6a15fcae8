import { normalize } from 'node:path'
import { type Atoll, type BuildEvent, isAtollError, type Step } from '@atoll/sdk'
import { Command, InvalidArgumentError } from 'commander'
import { exitCodes } from '../../exit-code.ts'
import { hashedTarOf } from '../../local/archive.ts'
import { styled } from '../../output/print.ts'
import { progress } from '../../output/progress.ts'
import { size } from '../../output/table.ts'
import { perform, type Work } from '../../perform.ts'
import { resolveSource, sendFile, type SourceFlags } from './source.ts'

interface Flags extends SourceFlags {
  readonly from: string
  readonly context: string
  readonly cache: boolean
}

export const templateBuildCommand = (): Command => {
  const steps: Step[] = []
  const step =
    (make: (text: string) => Step) =>
    (text: string): void =>
      void steps.push(make(text))
  return new Command('build')
    .description('build a template; steps run in the order in which they are given')
    .argument('<name>', 'name for it, like data or data:v2')
    .option(
      '--from <source>',
      'template name, registry:<reference>, tar:<file>, oci:<archive or folder>',
      'base',
    )
    .option(
      '--run <line>',
      'shell line to run inside; can be repeated',
      step((shell) => ({ type: 'run', shell })),
    )
    .option('--copy <from:to>', 'path below --context to copy in; can be repeated', step(copyStep))
    .option('--env <NAME=value>', 'variable; can be repeated', step(envStep))
    .option(
      '--workdir <path>',
      'working directory from here on',
      step((path) => ({ type: 'workdir', path })),
    )
    .option(
      '--user <name>',
      'user from here on',
      step((user) => ({ type: 'user', user })),
    )
    .option(
      '--start <line>',
      'command that each sandbox starts',
      step((line) => ({ type: 'start', argv: shell(line) })),
    )
    .option(
      '--ready <line>',
      'succeeds when it is ready',
      step((line) => ({ type: 'ready', argv: shell(line), timeoutMs: 30_000 })),
    )
    .option('--context <folder>', 'what --copy paths are relative to', '.')
    .option('--no-cache', 'run every step again')
    .option('--username <name>', 'for the registry')
    .option('--password-stdin', 'password for the registry from standard input')
    .option('--plain-http', 'the registry speaks HTTP without TLS')
    .action((name: string, flags: Flags, command: Command) =>
      perform(command, (tools) => build(tools, name, flags, steps)),
    )
}

const shell = (line: string): string[] => ['/bin/sh', '-c', line]

const copyStep = (text: string): Step => {
  const at = text.lastIndexOf(':')
  const from = normalize(text.slice(0, at)).replace(/\/+$/, '')
  if (at <= 0 || at === text.length - 1)
    throw new InvalidArgumentError('give from:to, like app:/home/user/app')
  if (from.startsWith('/') || from === '..' || from.startsWith('../'))
    throw new InvalidArgumentError('the source has to be below --context')
  return { type: 'copy', from, to: text.slice(at + 1) }
}

const envStep = (text: string): Step => {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('give NAME=value')
  return { type: 'env', env: { [text.slice(0, at)]: text.slice(at + 1) } }
}

const build = async (tools: Work, name: string, flags: Flags, steps: readonly Step[]): Promise<number> => {
  const { atoll, print, signal } = tools
  using shown = progress(`building ${name}`, print.json)
  const source = await resolveSource(atoll, flags.from, flags, shown)
  const context = await sendContext(atoll, flags.context, steps)
  const handle = await atoll.templates.build(
    { name, source, steps: [...steps], noCache: !flags.cache, ...(context === undefined ? {} : { context }) },
    { signal },
  )
  try {
    const done = await handle.wait({
      signal,
      onEvent: (event) => tell(event, tools, (text) => shown.say(text)),
    })
    shown[Symbol.dispose]()
    print.item({ type: 'result', build: done }, () => styled('green', `${name} is built`))
    return 0
  } catch (error) {
    if (signal.aborted) await handle.cancel().catch((failed: unknown) => print.error(failed))
    if (!isAtollError(error, 'build_failed') && !signal.aborted) throw error
    print.error(error)
    return signal.aborted ? exitCodes.interrupted : exitCodes.ownFailure
  }
}

const sendContext = async (
  atoll: Atoll,
  folder: string,
  steps: readonly Step[],
): Promise<string | undefined> => {
  const names = steps.flatMap((step) => (step.type === 'copy' ? [step.from] : []))
  if (names.length === 0) return undefined
  await using packed = await hashedTarOf(folder, [...new Set(names)])
  return await sendFile(atoll, packed.path, packed.sha256)
}

const tell = (event: BuildEvent, { print }: Work, say: (text: string) => void): void => {
  if (print.json) print.item(event, () => '')
  else if (event.type === 'output') process.stderr.write(event.text ?? '')
  else if (event.type === 'step')
    print.note(
      `${styled('bold', `step ${(event.step ?? 0) + 1}`, process.stderr)} ${event.instruction ?? ''}${event.cached === true ? ' (cached)' : ''}`,
    )
  else if (event.type === 'progress')
    say(`${event.text ?? 'working'}${event.doneBytes === undefined ? '' : `, ${size(event.doneBytes)}`}`)
}
