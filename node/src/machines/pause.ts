import { AtollError, type PauseDepth } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Captured } from './capture.ts'
import type { Context } from './context.ts'
import { freeze, liveOfRecord, stand } from './freeze.ts'
import { inLine } from './line.ts'
import { machineLimits } from './limits.ts'
import type { Occasion } from './occasion.ts'
import { backToFormer, putAside, run, type Settled } from './put-aside.ts'
import { releaseMachine } from './release-machine.ts'
import type { Runtime } from './runtimes.ts'
import { savedId } from './saved-id.ts'
import { transition } from './transition.ts'

/**
 * Pauses a sandbox. `frozen` is in force when this resolves and says that it is not durable; `stored` is on disk
 * by then, and its machine is gone. On failure it runs on. Repeatable, and a frozen one can be stored.
 */
export const pauseSandbox = (context: Context, id: string, depth: PauseDepth, by: string): Promise<void> =>
  pause(context, id, depth, by, undefined)

/** Pauses it for a reason of the node's own, unless that has gone by the time that it is its turn. */
export const pauseIf = (context: Context, id: string, depth: PauseDepth, occasion: Occasion): Promise<void> =>
  pause(context, id, depth, occasion.by, occasion)

const pause = (
  context: Context,
  id: string,
  depth: PauseDepth,
  by: string,
  occasion: Occasion | undefined,
): Promise<void> =>
  inLine(
    context,
    id,
    {
      // Who asks for a pause must not be told of one that may not happen.
      name: occasion === undefined ? `pause ${depth}` : `pause ${depth} if ${by}`,
      act: 'cannot pause',
      ms: machineLimits.captureMs,
    },
    async (record, signal) => {
      if (occasion?.holds(record) === false) return
      if (record.state === 'paused' && (record.depth === 'stored' || depth === 'frozen')) return
      if (record.state !== 'running' && record.state !== 'paused') throw pauseRefused(record)
      if (depth === 'frozen') return await freezeWhereItCan(context, record, by, occasion)
      await store(context, record, by, signal)
    },
  )

const pauseRefused = ({ id, state }: SandboxRecord): AtollError =>
  new AtollError('state_conflict', `cannot pause ${id}: it is ${state}`, {
    sandboxState: state,
    ...(state === 'stopped' ? { remedy: 'start it first; stopped it uses neither CPU nor memory' } : {}),
  })

const freezeWhereItCan = async (
  context: Context,
  record: SandboxRecord,
  by: string,
  occasion: Occasion | undefined,
): Promise<void> => {
  const { freeze: canFreeze } = await context.runtimes.capabilities(record.runtime)
  if (!canFreeze)
    throw new AtollError(
      'unsupported',
      `cannot pause ${record.id}: runtime ${record.runtime} cannot freeze`,
      {
        remedy: 'ask for depth stored, or use another runtime',
      },
    )
  // Asked anew in the turn in which it begins to stand: a call that comes later resumes it.
  if (occasion?.holds(record) === false) return
  await freeze(context, record, by)
}

/** Saves memory and disk, records that, then frees the machine. */
const store = async (
  context: Context,
  record: SandboxRecord,
  by: string,
  signal: AbortSignal,
): Promise<void> => {
  const { id } = record
  const runtime = await context.runtimes.choose(record.runtime)
  refuseUnsupportedStore(runtime, `cannot pause ${id}`)
  const live = liveOfRecord(context, record, 'cannot pause')
  const pausing = transition(
    context,
    record,
    { state: 'pausing', stateDeadlineMs: context.clock.now() + machineLimits.captureMs },
    { type: 'pausing', data: { by, from: record.depth ?? 'running' } },
  )
  const order = { id: savedId(context, id), owner: 'sandbox', kind: 'memory', after: 'pause' } as const
  stand(live, true)
  try {
    await run(context, live, signal)
    const subject = { record: pausing, live, runtime }
    await putAside(context, subject, order, (captured) => stored(context, record, captured, by), signal)
  } catch (error) {
    await backToFormer(context, record, pausing, live, error)
    throw error
  }
  await releaseMachine(context, id)
}

const stored = (
  context: Context,
  record: SandboxRecord,
  { row, pausedMs }: Captured,
  by: string,
): Settled => ({
  patch: {
    state: 'paused',
    depth: 'stored',
    saved: row.id,
    pausedAtMs: record.pausedAtMs ?? context.clock.now(),
    stateDeadlineMs: null,
    idleSinceMs: null,
  },
  event: {
    type: record.depth === 'frozen' ? 'demoted' : 'paused',
    data: { depth: 'stored', durable: true, by, sizeBytes: row.sizeBytes, pausedMs },
  },
})

const refuseUnsupportedStore = ({ driver, capabilities }: Runtime, act: string): void => {
  if (!capabilities.memorySnapshot)
    throw new AtollError('unsupported', `${act} to disk: runtime ${driver.name} cannot save memory`, {
      remedy: 'ask for depth frozen, or stop it where its disk is enough',
    })
}
