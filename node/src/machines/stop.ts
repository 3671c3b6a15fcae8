import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Captured } from './capture.ts'
import type { Context } from './context.ts'
import { endProcesses } from './end-processes.ts'
import { liveOfRecord, stand } from './freeze.ts'
import { inLine } from './line.ts'
import { machineLimits } from './limits.ts'
import type { Occasion } from './occasion.ts'
import { backToFormer, putAside, run, type Settled } from './put-aside.ts'
import { releaseMachine } from './release-machine.ts'
import type { Runtime } from './runtimes.ts'
import { savedId } from './saved-id.ts'
import { stoppedError } from './stopped-error.ts'
import { transition, transitionFrom } from './transition.ts'

/** Ends the machine and keeps its disk. `unsupported` where the runtime keeps none (invariant 11). */
export const stopSandbox = (context: Context, id: string, by: string): Promise<void> =>
  stop(context, id, by, undefined)

/** Stops it for a reason of the node's own, unless that has gone by the time that it is its turn. */
export const stopIf = (context: Context, id: string, occasion: Occasion): Promise<void> =>
  stop(context, id, occasion.by, occasion)

const stop = (context: Context, id: string, by: string, occasion: Occasion | undefined): Promise<void> =>
  inLine(
    context,
    id,
    {
      name: occasion === undefined ? 'stop' : `stop if ${by}`,
      act: 'cannot stop',
      ms: machineLimits.captureMs,
    },
    async (record, signal) => {
      if (record.state === 'stopped' || occasion?.holds(record) === false) return
      const isFrozen = record.state === 'paused' && record.depth === 'frozen'
      if (record.state !== 'running' && !isFrozen) throw stopRefused(record)
      const { driver, capabilities } = await context.runtimes.choose(record.runtime)
      if (!capabilities.diskStop)
        throw new AtollError(
          'unsupported',
          `cannot stop ${id}: runtime ${record.runtime} keeps no disk without its memory; delete it instead`,
        )
      const stopping = transition(
        context,
        record,
        { state: 'stopping', stateDeadlineMs: context.clock.now() + machineLimits.captureMs },
        { type: 'stopping', data: { by } },
      )
      if (capabilities.diskSnapshot === 'guest')
        await saveDisk(context, record, stopping, { driver, capabilities }, by, signal)
      else await keepDisk(context, stopping, by, signal)
    },
  )

const stopRefused = ({ id, state }: SandboxRecord): AtollError =>
  new AtollError('state_conflict', `cannot stop ${id}: it is ${state}`, {
    sandboxState: state,
    ...(state === 'paused'
      ? { remedy: 'resume it first; stored it uses neither CPU nor memory already' }
      : { retryable: true }),
  })

/** The disk is a file of the machine's folder, which stays. A teardown cannot be taken back half-way. */
const keepDisk = async (
  context: Context,
  record: SandboxRecord,
  by: string,
  signal: AbortSignal,
): Promise<void> => {
  const live = context.live.get(record.id)
  if (live !== undefined) {
    stand(live, true)
    try {
      await run(context, live, signal)
      await endProcesses(context, live, signal)
    } catch (error) {
      // The disk is kept whatever its processes do; a guest that does not answer must not hold up its end.
      context.logger.warn(
        { sandbox: record.id, err: error },
        'processes could not be asked to end; they are killed',
      )
    }
  }
  live?.guest.close(stoppedError(record.id))
  await live?.machine.destroy(AbortSignal.timeout(machineLimits.teardownMs))
  context.live.delete(record.id)
  transitionFrom(
    context,
    record,
    { ...resting, state: 'stopped', machine: null },
    { type: 'stopped', data: { by } },
  )
}

const resting = { stateDeadlineMs: null, idleSinceMs: null, depth: null, pausedAtMs: null } as const

/** The disk lives in the guest: it is saved as what differs from the template, and the machine goes. */
const saveDisk = async (
  context: Context,
  record: SandboxRecord,
  stopping: SandboxRecord,
  runtime: Runtime,
  by: string,
  signal: AbortSignal,
): Promise<void> => {
  const order = { id: savedId(context, record.id), owner: 'sandbox', kind: 'disk', after: 'stop' } as const
  const settle = ({ row }: Captured): Settled => ({
    patch: { ...resting, state: 'stopped', saved: row.id },
    event: { type: 'stopped', data: { by, sizeBytes: row.sizeBytes } },
  })
  const live = context.live.get(record.id)
  try {
    const reached = live ?? liveOfRecord(context, record, 'cannot stop')
    stand(reached, true)
    await run(context, reached, signal)
    await endProcesses(context, reached, signal)
    await putAside(context, { record: stopping, live: reached, runtime }, order, settle, signal)
  } catch (error) {
    if (live !== undefined) await backToFormer(context, record, stopping, live, error)
    throw error
  }
  await releaseMachine(context, record.id)
}
