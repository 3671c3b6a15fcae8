import type { MachineLimits } from '../runtimes/driver.ts'
import { keptLimits } from './keep-limits.ts'
import { askShim, limitsSchema } from './shim.ts'
import type { LimitTranslation } from './shimmed-machine.ts'

/** The limits in force: those of the cgroup as it is now, the fixed ones from the start. */
export const recoverLimits = async (
  directory: string,
  translation: LimitTranslation,
  signal: AbortSignal,
): Promise<MachineLimits> => {
  const kept = await keptLimits(directory)
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
    ...kept,
    cpuMillis,
    memoryBytes: translation.memoryFromHost(memoryBytes),
    processes: Math.max(0, translation.processesFromHost(pids)),
  }
}
