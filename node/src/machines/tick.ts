import { setTimeout as sleep } from 'node:timers/promises'
import { AtollError, limits } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { endSandbox } from './end.ts'
import { askGuestUse, knownHolders, lastHeldMs } from './holders.ts'
import { machineLimits } from './limits.ts'
import { atDeadline, whileIdle } from './occasion.ts'
import { recoverSandbox } from './recover.ts'
import { isAside, releaseMachine } from './release-machine.ts'
import { pauseAtDeadline, pauseIdle, relieveMemory, storeAtMs, storeFrozen } from './rest.ts'
import { stopIf } from './stop.ts'

/** How often old rows are removed, ms. */
const sweepEveryMs = 60_000

/**
 * The one ticker: reads deadlines from the database again and again, so that neither a long timer, a
 * stepped clock nor a restart makes one late or lost (invariant 5).
 */
export const startTicker = (context: Context): Disposable => {
  const acting = new Map<string, Promise<void>>()
  let timer: NodeJS.Timeout | undefined
  let sweptAt = 0
  let relievedAt = 0
  let relieving: Promise<unknown> | undefined
  const tick = (): void => {
    if (context.closing.aborted) return
    const now = context.clock.now()
    let nextAtMs = now + machineLimits.tickMaxMs
    try {
      if (context.clock.monotonic() - sweptAt > sweepEveryMs) {
        sweep(context)
        sweptAt = context.clock.monotonic()
      }
      if (relieving === undefined && context.clock.monotonic() - relievedAt > machineLimits.pressureEveryMs) {
        relievedAt = context.clock.monotonic()
        relieving = relieveMemory(context)
          .catch((error: unknown) =>
            context.logger.warn({ err: error }, 'frozen sandboxes could not give memory back'),
          )
          .finally(() => {
            relieving = undefined
          })
      }
      for (const record of context.records.sandboxes.living()) {
        const { atMs, act } = due(context, record)
        nextAtMs = Math.min(nextAtMs, atMs)
        if (atMs > now || acting.has(record.id) || context.ends.has(record.id)) continue
        const work = act()
          .catch(async (error: unknown) => {
            context.logger.warn(
              { sandbox: record.id, err: error },
              'what was due could not be done; again soon',
            )
            await sleep(machineLimits.teardownRetryMs, undefined, {
              signal: context.closing,
              ref: false,
            }).catch(() => undefined)
          })
          .finally(() => acting.delete(record.id))
        acting.set(record.id, work)
      }
    } catch (error) {
      context.logger.error({ err: error }, 'a tick failed')
    }
    const delay = Math.min(Math.max(nextAtMs - now, machineLimits.tickMinMs), machineLimits.tickMaxMs)
    timer = setTimeout(tick, delay)
    timer.unref()
  }
  tick()
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}

const sweep = (context: Context): void => {
  context.records.events.trim()
  context.records.sandboxes.forgetEndedBefore(context.clock.now() - limits.tombstoneKeptMs)
}

interface Due {
  readonly atMs: number
  readonly act: () => Promise<void>
}

/** What is next to do with a sandbox, and when. */
const due = (context: Context, record: SandboxRecord): Due => {
  const steps: Due[] = []
  const { lease } = record
  switch (record.state) {
    case 'paused':
      return dueOfPaused(context, record)
    case 'running':
      // The daemon's start could not reach it: it is neither lost nor known to run.
      if (!context.live.has(record.id) && !context.work.has(record.id))
        return { atMs: 0, act: () => recoverSandbox(context, record) }
      steps.push({ atMs: lease.expiresAtMs, act: () => onDeadline(context, record) })
      if (lease.idle !== null && knownHolders(context, record.id).length === 0)
        steps.push({
          atMs: lastHeldMs(context, record) + lease.idle.afterMs,
          act: () => onIdle(context, record),
        })
      break
    case 'stopped':
      if (isAside(record) && record.machineId !== null) return free(context, record)
      if (lease.onTimeout === 'delete')
        steps.push({ atMs: lease.expiresAtMs, act: () => onDeadline(context, record) })
      break
    case 'deleting':
      steps.push({ atMs: record.stateDeadlineMs ?? 0, act: () => goOn(context, record) })
      break
    case 'pausing':
    case 'resuming':
    case 'starting':
    case 'stopping':
      // The daemon that began it is gone, and this one could not settle it yet.
      if (!context.work.has(record.id)) return { atMs: 0, act: () => recoverSandbox(context, record) }
      break
    case 'creating':
      // Its own work has the same deadline and ends it; without work nobody owns it any more.
      if (!context.work.has(record.id))
        steps.push({ atMs: record.stateDeadlineMs ?? 0, act: () => onStuck(context, record) })
      break
    case 'ended':
      break
  }
  return steps.reduce((first, step) => (step.atMs < first.atMs ? step : first), none)
}

/** Its time does not end a paused one, and nothing holds or idles it: it only moves to disk. */
const dueOfPaused = (context: Context, record: SandboxRecord): Due => {
  const { id } = record
  if (context.work.has(id)) return none
  if (isAside(record)) return record.machineId === null ? none : free(context, record)
  if (!context.live.has(id)) return { atMs: 0, act: () => recoverSandbox(context, record) }
  const atMs = storeAtMs(context, record)
  return atMs === undefined ? none : { atMs, act: () => storeFrozen(context, record) }
}

/** A machine whose record says that its state is on disk. */
const free = (context: Context, { id }: SandboxRecord): Due =>
  context.work.has(id) ? none : { atMs: 0, act: () => releaseAgain(context, id) }

const releaseAgain = async (context: Context, id: string): Promise<void> => {
  await releaseMachine(context, id)
  if (context.records.sandboxes.get(id)?.machineId !== null)
    throw new AtollError('internal', `cannot free the machine of ${id}`)
}

const none: Due = { atMs: Number.POSITIVE_INFINITY, act: async () => undefined }

const onDeadline = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.lease.onTimeout === 'stop') return await stopIf(context, record.id, atDeadline(context))
  if (record.lease.onTimeout === 'pause') return await pauseAtDeadline(context, record)
  await endSandbox(context, record, {
    cause: 'deadline',
    by: 'node',
    message: `its time was over at ${new Date(record.lease.expiresAtMs).toISOString()}`,
  })
}

/** Before a sandbox counts as idle its guest is asked: a process that nobody follows holds it too. */
const onIdle = async (context: Context, record: SandboxRecord): Promise<void> => {
  const { idle } = record.lease
  const live = context.live.get(record.id)
  if (idle === null || live === undefined) return
  const use = await askGuestUse(context, record.id)
  const now = context.clock.now()
  live.lastHeldMs = Math.max(live.lastHeldMs, use.holders.length > 0 ? now : use.lastEndMs)
  const current = context.records.sandboxes.get(record.id)
  if (current?.state !== 'running' || knownHolders(context, record.id).length > 0) return
  if (lastHeldMs(context, current) + idle.afterMs > now) return
  if (idle.action === 'stop') return await stopIf(context, current.id, whileIdle(context))
  if (idle.action === 'pause') return await pauseIdle(context, current)
  await endSandbox(context, current, {
    cause: 'idle',
    by: 'node',
    message: `nothing held it for ${idle.afterMs} ms`,
  })
}

const goOn = async (context: Context, record: SandboxRecord): Promise<void> => {
  await endSandbox(
    context,
    record,
    record.ending ?? { cause: 'fault', by: 'node', message: 'deletion went on' },
  )
}

const onStuck = async (context: Context, record: SandboxRecord): Promise<void> => {
  await endSandbox(context, record, {
    cause: record.state === 'creating' ? 'create_failed' : 'fault',
    by: 'node',
    message: `it stayed ${record.state} beyond its deadline`,
  })
}
