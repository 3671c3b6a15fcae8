import type { SandboxRecord } from '../records/sandboxes.ts'
import { readHostRoom } from './admit.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'
import { atDeadline, whileFrozen, whileIdle } from './occasion.ts'
import { pauseIf } from './pause.ts'

/** When a frozen sandbox goes to disk by its age; undefined where its runtime cannot. */
export const storeAtMs = (context: Context, { id, pausedAtMs }: SandboxRecord): number | undefined => {
  const notBeforeMs = context.live.get(id)?.storeNotBeforeMs ?? 0
  if (notBeforeMs === Number.POSITIVE_INFINITY) return undefined
  return Math.max((pausedAtMs ?? 0) + context.options.frozenKeptMs, notBeforeMs)
}

/** Stores a frozen sandbox, which gives its memory back. One that cannot be stored stays frozen. */
export const storeFrozen = async (context: Context, { id, runtime }: SandboxRecord): Promise<void> => {
  const live = context.live.get(id)
  if (live === undefined) return
  const { memorySnapshot } = await context.runtimes.capabilities(runtime)
  if (!memorySnapshot) {
    live.storeNotBeforeMs = Number.POSITIVE_INFINITY
    return
  }
  live.storeNotBeforeMs = context.clock.now() + machineLimits.storeRetryMs
  await pauseIf(context, id, 'stored', whileFrozen)
}

/** While the host is short of memory: the longest frozen one goes to disk. True when one did. */
export const relieveMemory = async (context: Context): Promise<boolean> => {
  const { memoryAvailableBytes } = await readHostRoom(context.dataFolder)
  if (memoryAvailableBytes >= context.options.frozenReserveBytes) return false
  const now = context.clock.now()
  const oldest = context.records.sandboxes
    .living()
    .filter(({ id, state, depth }) => {
      const live = context.live.get(id)
      return state === 'paused' && depth === 'frozen' && live !== undefined && live.storeNotBeforeMs <= now
    })
    .toSorted((left, right) => (left.pausedAtMs ?? 0) - (right.pausedAtMs ?? 0))[0]
  if (oldest === undefined) return false
  context.logger.info(
    { sandbox: oldest.id, memoryAvailableBytes },
    'the host is short of memory: a frozen sandbox goes to disk',
  )
  await storeFrozen(context, oldest)
  return true
}

/** At the end of its time: to disk at once, or frozen where it cannot be stored, so that it uses no more CPU. */
export const pauseAtDeadline = async (context: Context, { id, runtime }: SandboxRecord): Promise<void> => {
  const { memorySnapshot, freeze } = await context.runtimes.capabilities(runtime)
  const occasion = atDeadline(context)
  if (!memorySnapshot) return await pauseIf(context, id, 'frozen', occasion)
  try {
    await pauseIf(context, id, 'stored', occasion)
  } catch (error) {
    if (!freeze || context.records.sandboxes.get(id)?.state !== 'running') throw error
    context.logger.error({ sandbox: id, err: error }, 'a sandbox could not be stored at its deadline: frozen')
    await pauseIf(context, id, 'frozen', occasion)
  }
}

/** Nobody needs it now, but may soon: frozen it is back in a moment. */
export const pauseIdle = async (context: Context, { id, runtime }: SandboxRecord): Promise<void> => {
  const { freeze } = await context.runtimes.capabilities(runtime)
  await pauseIf(context, id, freeze ? 'frozen' : 'stored', whileIdle(context))
}
