import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { machineFolder } from '../e2e/machine-parts.ts'

/** Bytes that a sandbox's folder takes on the host's disk; sparse parts count as nothing. */
export const allocatedBytes = (dataFolder: string, id: string): number =>
  bytesBelow(machineFolder({ dataFolder }, id))

const bytesBelow = (path: string): number => {
  const info = lstatSync(path, { throwIfNoEntry: false })
  if (info === undefined) return 0
  const own = info.blocks * 512
  return info.isDirectory()
    ? readdirSync(path).reduce((sum, name) => sum + bytesBelow(join(path, name)), own)
    : own
}
