import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { gvisorDriver, type RuntimeDriver } from '@atoll/node'
import type { Programs } from './programs.ts'

/** The runtimes of this host, strongest first. */
export const hostDrivers = (dataFolder: string, programs: Programs): readonly RuntimeDriver[] => {
  const stateFolder = join(dataFolder, 'runsc')
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const { launcher: launcherPath, agent: agentPath } = programs
  return [gvisorDriver({ launcherPath, agentPath, stateFolder })]
}
