import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  containerDriver,
  ensureBase,
  gvisorDriver,
  nodeImages,
  openImageStore,
  type RuntimeDriver,
} from '@atoll/node'
import { AtollError } from '@atoll/protocol'
import { findPrograms, type Programs } from './programs.ts'
import type { Parts } from './simulated-parts.ts'

/** The runtimes of this host, strongest first. Their own state lies in the data folder. */
export const hostDrivers = (dataFolder: string, programs: Programs): readonly RuntimeDriver[] => {
  const { launcher: launcherPath, agent: agentPath } = programs
  const stateOf = (name: string): string => {
    const stateFolder = join(dataFolder, name)
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
    return stateFolder
  }
  return [
    gvisorDriver({ launcherPath, agentPath, stateFolder: stateOf('runsc') }),
    containerDriver({ launcherPath, agentPath, stateFolder: stateOf('crun') }),
  ]
}

/** Runtimes and images of this host. Builds the template `base` where it is missing, and says how far it is. */
export const hostParts = async (
  dataFolder: string,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<Parts> => {
  if (process.getuid?.() !== 0)
    throw new AtollError('permission_denied', 'cannot start: mounts, namespaces and cgroups need root', {
      remedy: 'run it as root: sudo atoll up',
    })
  const programs = findPrograms()
  const store = await openImageStore({
    dataDirectory: dataFolder,
    unpackerPath: programs.unpacker,
    agentPath: programs.agent,
  })
  let stage = ''
  const report = (progress: { readonly stage: string; readonly subject: string }): void => {
    // `done` alone means that nothing had to be made.
    if (progress.stage !== stage && progress.stage !== 'done') say(`template base: ${progress.stage}`)
    stage = progress.stage
  }
  const base = await ensureBase(store, report, signal)
  return {
    drivers: hostDrivers(dataFolder, programs),
    images: (open) => nodeImages(store, open),
    options: { warmImages: [base.digest] },
  }
}
