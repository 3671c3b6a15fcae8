import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { admit, readHostRoom } from './admit.ts'
import { boot } from './boot.ts'
import type { Context } from './context.ts'
import { endedError } from './end.ts'
import { watchExit } from './exited.ts'
import { machineLimits } from './limits.ts'
import { transition } from './transition.ts'

/** Boots a stopped sandbox on its kept disk; a boot that fails leaves it stopped. */
export const startSandbox = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.state === 'running') return
  const work = context.work.get(record.id)
  if (record.state === 'starting' && work !== undefined) return void (await work.done)
  if (record.ended !== null) throw endedError(record, 'cannot start')
  if (record.state !== 'stopped')
    throw new AtollError('state_conflict', `cannot start ${record.id}: it is ${record.state}; try again`, {
      sandboxState: record.state,
    })
  const now = context.clock.now()
  if (record.lease.expiresAtMs <= now)
    throw new AtollError('state_conflict', `cannot start ${record.id}: its time is over; extend it first`, {
      sandboxState: 'stopped',
      remedy: 'extend its lease',
    })
  const claimed = transition(
    context,
    record,
    { state: 'starting', bootId: context.bootId, stateDeadlineMs: now + machineLimits.bootMs },
    { type: 'starting' },
  )
  const controller = new AbortController()
  const signal = AbortSignal.any([
    controller.signal,
    context.closing,
    AbortSignal.timeout(machineLimits.bootMs),
  ])
  const done = run(context, claimed, signal)
  const unwound = done.then(
    () => undefined,
    () => undefined,
  )
  context.work.set(record.id, {
    hash: record.specHash,
    abort: (reason) => controller.abort(reason),
    unwound,
    done,
  })
  await done.finally(() => context.work.delete(record.id))
}

const run = async (context: Context, record: SandboxRecord, signal: AbortSignal): Promise<void> => {
  try {
    const runtime = await context.runtimes.choose(record.runtime)
    const image =
      runtime.driver.name === 'simulated'
        ? ''
        : (await context.images.open(record.spec.imageDigest, signal)).path
    using place = await context.boots.enter(signal)
    if (place === undefined)
      throw new AtollError('overloaded', `cannot start ${record.id}: too many are waiting; try again`)
    admit(context, record.spec, await readHostRoom(context.dataFolder))
    const { live, timings } = await boot(context, runtime.driver, record, image, signal)
    await using rollback = new AsyncDisposableStack()
    rollback.use(live.machine)
    transition(
      context,
      record,
      {
        state: 'running',
        machine: live.machine.record,
        stateDeadlineMs: null,
        idleSinceMs: context.clock.now(),
        timings,
      },
      { type: 'running', data: { timings } },
    )
    context.live.set(record.id, live)
    rollback.move()
    watchExit(context, live)
  } catch (error) {
    const now = context.records.sandboxes.get(record.id)
    if (now?.state === 'starting')
      transition(
        context,
        now,
        { state: 'stopped', stateDeadlineMs: null },
        { type: 'stopped', data: { by: 'node', because: 'the start failed' } },
      )
    throw error
  }
}
