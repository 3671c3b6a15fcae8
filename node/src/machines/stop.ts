import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import { transition } from './transition.ts'

/** Ends the machine and keeps its disk. `unsupported` where the runtime keeps none (invariant 11). */
export const stopSandbox = async (context: Context, record: SandboxRecord, by: string): Promise<void> => {
  if (record.state === 'stopped') return
  const work = context.work.get(record.id)
  if (record.state === 'stopping' && work !== undefined) return void (await work.done)
  if (record.ended !== null) throw endedError(record, 'cannot stop')
  if (record.state !== 'running')
    throw new AtollError('state_conflict', `cannot stop ${record.id}: it is ${record.state}; try again`, {
      sandboxState: record.state,
    })
  const { diskStop } = await context.runtimes.capabilities(record.runtime)
  if (!diskStop)
    throw new AtollError(
      'unsupported',
      `cannot stop ${record.id}: runtime ${record.runtime} keeps no disk without its memory; delete it instead`,
    )
  const claimed = transition(
    context,
    record,
    { state: 'stopping', stateDeadlineMs: context.clock.now() + machineLimits.teardownMs },
    { type: 'stopping', data: { by } },
  )
  const done = release(context, claimed, by)
  const unwound = done.then(
    () => undefined,
    () => undefined,
  )
  // A teardown cannot be taken back half-way: whoever deletes waits for it.
  context.work.set(record.id, { hash: record.specHash, abort: () => undefined, unwound, done })
  await done.finally(() => context.work.delete(record.id))
}

const release = async (context: Context, record: SandboxRecord, by: string): Promise<void> => {
  const live = context.live.get(record.id)
  live?.guest.close(stoppedError(record.id))
  await live?.machine.destroy(AbortSignal.timeout(machineLimits.teardownMs))
  context.live.delete(record.id)
  transition(
    context,
    record,
    { state: 'stopped', machine: null, stateDeadlineMs: null, idleSinceMs: null },
    { type: 'stopped', data: { by } },
  )
}

/** A machine that its host ended at the deadline, and whose disk is to be kept; false where none is. */
export const stopExited = async (context: Context, record: SandboxRecord): Promise<boolean> => {
  const { diskStop } = await context.runtimes.capabilities(record.runtime)
  if (!diskStop) return false
  await stopSandbox(context, record, 'deadline')
  return true
}

/** Refuses what needs a running sandbox. */
export const stoppedError = (id: string): AtollError =>
  new AtollError('state_conflict', `${id} is stopped`, { sandboxState: 'stopped', remedy: 'start it first' })
