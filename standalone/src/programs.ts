import { accessSync, constants } from 'node:fs'
import { join, resolve } from 'node:path'
import { AtollError } from '@atoll/protocol'

/** Our native programs, absolute. */
export interface Programs {
  readonly launcher: string
  readonly agent: string
  readonly unpacker: string
}

/** The crates' own folders, where `npm run build:native` leaves what it built. */
const repository = resolve(import.meta.dirname, '../..')
const release = 'target/x86_64-unknown-linux-gnu/release'
export const programPaths: Programs = {
  launcher: join(repository, 'node/launcher', release, 'atoll-launcher'),
  agent: join(repository, 'guest', release, 'atoll-agent'),
  unpacker: join(repository, 'node/unpacker', release, 'atoll-unpack'),
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
