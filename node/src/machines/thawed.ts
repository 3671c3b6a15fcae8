import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'

/**
 * Runs an act on a machine that must not be frozen meanwhile. One that is paused frozen runs for the moments
 * before and after its processes stand still for the act, and is frozen again whatever came of it.
 */
export const thawed = async <Result>(
  context: Context,
  record: SandboxRecord,
  live: Live,
  act: () => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> => {
  if (record.state !== 'paused') return await act()
  live.guest.hush(false)
  try {
    await live.machine.thaw(signal)
    return await act()
  } finally {
    live.guest.hush(true)
    try {
      await live.machine.freeze(AbortSignal.timeout(machineLimits.probeMs))
    } catch (error) {
      context.logger.error({ sandbox: record.id, err: error }, 'a paused sandbox could not be frozen again')
    }
  }
}
