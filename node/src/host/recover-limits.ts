import { join } from 'node:path'
import { z } from 'zod'
import type { MachineLimits } from '../runtimes/driver.ts'
import { readJson, writeJson } from './files.ts'
import { askShim, limitsSchema } from './shim.ts'
import type { LimitTranslation } from './shimmed-machine.ts'

const fixedSchema = z.object({ diskBytes: z.int(), openFiles: z.int() })
const fileOf = (directory: string): string => join(directory, 'limits.json')

/** Keeps what the host cannot be asked later. */
export const keepLimits = (directory: string, { diskBytes, openFiles }: MachineLimits): Promise<void> =>
  writeJson(fileOf(directory), { diskBytes, openFiles })

/** The limits in force: those of the cgroup as it is now, the fixed ones from the start. */
export const recoverLimits = async (
  directory: string,
  translation: LimitTranslation,
  signal: AbortSignal,
): Promise<MachineLimits> => {
  const fixed = fixedSchema.parse(await readJson(fileOf(directory)))
  const { cpuMillis, memoryBytes, pids } = await askShim(
    directory,
    { do: 'resize' },
    limitsSchema,
    signal,
  ).catch(() => {
    signal.throwIfAborted()
    // It has ended in the meantime: nothing is in force.
    return {
      cpuMillis: 0,
      memoryBytes: translation.toHost({ memoryBytes: 0, processes: 0 }).memoryBytes,
      pids: 0,
    }
  })
  return {
    ...fixed,
    cpuMillis,
    memoryBytes: translation.memoryFromHost(memoryBytes),
    processes: Math.max(0, translation.processesFromHost(pids)),
  }
}
