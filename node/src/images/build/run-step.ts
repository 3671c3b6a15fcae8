import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { AtollError, type ImageConfig, scrub } from '@atoll/protocol'
import type { BuildSandbox } from '../build-sandbox.ts'
import { type ImageStore, makeStaging } from '../image-store.ts'
import { selectFromArchive } from '../jailed-unpacker.ts'
import { imageLimits } from '../limits.ts'
import type { FileStep } from './apply-step.ts'

type RunStep = Extract<FileStep, { type: 'run' }>
type CopyStep = Extract<FileStep, { type: 'copy' }>

const tailLength = 2_000

/** Runs a command as the sandbox's user would; anything but exit code 0 is an error with the end of its output. */
export const runCommand = async (
  sandbox: BuildSandbox,
  step: RunStep,
  config: ImageConfig,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<void> => {
  const argv = step.argv ?? ['/bin/sh', '-c', step.shell ?? '']
  if ((step.argv === undefined) === (step.shell === undefined)) {
    throw new AtollError('invalid_request', 'a run step has argv or shell, one of them')
  }
  const timeoutMs = step.timeoutMs ?? imageLimits.stepMs
  const command = { argv, env: config.env, cwd: config.workdir, user: step.user ?? config.user, timeoutMs }
  const decoder = new TextDecoder()
  let tail = ''
  let passedBytes = 0
  const end = await sandbox.run(
    command,
    (bytes) => {
      const text = scrub(decoder.decode(bytes, { stream: true }))
      tail = (tail + text).slice(-tailLength)
      const before = passedBytes
      passedBytes += bytes.length
      if (passedBytes <= imageLimits.stepOutputBytes) onText(text)
      else if (before <= imageLimits.stepOutputBytes) onText('\n[further output of this step is not shown]\n')
    },
    signal,
  )
  if (end.code === 0) return
  const how = end.timedOut
    ? `ran over its ${timeoutMs} ms`
    : end.code === null
      ? `was ended by ${end.signal}`
      : `failed with exit code ${end.code}`
  throw new AtollError('build_failed', how, {
    details: { exitCode: end.code, signal: end.signal, output: tail },
  })
}

/** Files of the context that a copy step names, as a tar of their own, and their hash. */
export interface Copied extends AsyncDisposable {
  readonly contentHash: string
  /** Unpacks them in the sandbox. */
  into(sandbox: BuildSandbox, signal: AbortSignal): Promise<void>
}

/** Takes what the step names out of the context, in the jail. */
export const takeCopied = async (
  store: ImageStore,
  step: CopyStep,
  config: ImageConfig,
  contextPath: string | null,
  signal: AbortSignal,
): Promise<Copied> => {
  if (contextPath === null) {
    throw new AtollError('invalid_request', 'a copy step needs a build context; upload one and name it')
  }
  await using stack = new AsyncDisposableStack()
  const staging = stack.use(await makeStaging(store))
  const path = join(staging.path, 'copied.tar')
  const emptyDirectory = join(staging.path, 'empty')
  await mkdir(emptyDirectory, { mode: 0o700 })
  const target = posix.resolve('/', config.workdir, step.to)
  const intoFolder = step.to.endsWith('/') || step.to === '.'
  const name = intoFolder ? posix.basename(posix.resolve('/', step.from)) : posix.basename(target)
  const choice = { from: step.from, name }
  const selection = await selectFromArchive(store, contextPath, choice, { path, emptyDirectory }, signal)
  const folder = selection.isFile && !intoFolder ? posix.dirname(target) : target
  const kept = stack.move()
  return {
    contentHash: selection.contentHash,
    into: (sandbox, inner) => sandbox.upload(folder, createReadStream(path), step.owner ?? 'root', inner),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
