import { accessSync, constants, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { AtollError } from '@atoll/protocol'

/** Our native programs, absolute. */
export interface Programs {
  readonly launcher: string
  readonly agent: string
  readonly unpacker: string
}

const repository = resolve(import.meta.dirname, '../..')
/** Where cargo leaves a crate's programs: with or without a named target, as the crate's own configuration has it. */
const outputs = ['target/x86_64-unknown-linux-gnu/release', 'target/release']

/** The newer one where both are there: the other is of an older configuration. */
const builtBy = (crate: string, name: string): string => {
  const paths = outputs.map((output) => join(repository, crate, output, name))
  const age = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
  return paths.toSorted((left, right) => age(right) - age(left))[0] ?? name
}

/** What `npm run build:native` builds. */
export const programPaths: Programs = {
  launcher: builtBy('node/launcher', 'atoll-launcher'),
  agent: builtBy('guest', 'atoll-agent'),
  unpacker: builtBy('node/unpacker', 'atoll-unpack'),
}

export const buildRemedy = 'npm run build:native'

/** The programs; refuses to go on when one is not there. */
export const findPrograms = (): Programs => {
  for (const [name, path] of Object.entries(programPaths))
    if (!isExecutable(path))
      throw new AtollError('runtime_unavailable', `cannot start: the ${name} is not built (${path})`, {
        remedy: buildRemedy,
      })
  return programPaths
}

export const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    // Not there or not ours to run: the same to whoever asks.
    return false
  }
}
