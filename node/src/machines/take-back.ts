import { AtollError } from '@atoll/protocol'
import { askContinue, askHealth } from '../guest/calls.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Machine } from '../runtimes/driver.ts'
import { hostDeadlineOf, liveOf } from './boot.ts'
import type { Context, Live } from './context.ts'
import { watchExit } from './exited.ts'
import { stand, thaw } from './freeze.ts'
import { machineLimits } from './limits.ts'
import { transition } from './transition.ts'

/**
 * Takes a machine back that outlived the daemon: as its record says it was, whatever a verb that the daemon did
 * not survive had begun with it.
 */
export const takeBack = async (context: Context, record: SandboxRecord, machine: Machine): Promise<void> => {
  const live = liveOf(context, record.id, machine)
  // Also one on its way to disk: nobody was told anything else than that it is paused.
  const isPaused = record.state === 'paused' || record.depth === 'frozen'
  if (isPaused) await keepFrozen(context, record, live)
  else await letRun(context, record, live)
  context.live.set(record.id, live)
  watchExit(context, live)
  // A guest that does not answer now is no reason to end what may hold someone's work; its state says so.
  const fault = isPaused ? undefined : await probeGuest(context, record, live)
  const current = context.records.sandboxes.get(record.id)
  if (current?.state !== record.state) return
  const data = {
    ...(fault === undefined ? {} : { guest: fault }),
    ...(record.state === 'running' || record.state === 'paused' ? {} : { from: record.state }),
  }
  transition(
    context,
    current,
    {
      machine: machine.record,
      ...(isPaused
        ? { state: 'paused', stateDeadlineMs: null }
        : { state: 'running', depth: null, pausedAtMs: null, stateDeadlineMs: null }),
    },
    { type: 'recovered', data },
  )
}

/** A daemon that died within a resume or a capture left it running: nobody was told that it does. */
const keepFrozen = async (context: Context, record: SandboxRecord, live: Live): Promise<void> => {
  const signal = AbortSignal.timeout(machineLimits.probeMs)
  // What stands still for a capture goes on first: nobody looks for that when it is resumed.
  if ((await live.machine.state(signal)) === 'running') await probeGuest(context, record, live)
  await live.machine.freeze(AbortSignal.timeout(machineLimits.probeMs))
  await live.machine.setDeadline(null, 'freeze', AbortSignal.timeout(machineLimits.probeMs))
  stand(live, true)
}

/** Frozen by a pause that nobody was told of, or by the host at its deadline; our own deadline acts next. */
const letRun = async (context: Context, record: SandboxRecord, live: Live): Promise<void> => {
  const signal = AbortSignal.timeout(machineLimits.probeMs)
  const state = await live.machine.state(signal)
  if (state === 'frozen') return await thaw(context, record, live)
  if (state === 'ended') return
  const { unixMs, action } = hostDeadlineOf(record.lease)
  await live.machine.setDeadline(unixMs, action, signal)
}

/** What a capture stopped goes on: its daemon did not live to say so. */
const probeGuest = async (
  context: Context,
  record: SandboxRecord,
  { guest }: Live,
): Promise<string | undefined> => {
  try {
    const health = await askHealth(guest, machineLimits.probeMs)
    if (health.sandboxId !== record.id || !health.adopted) return 'the guest answers for another sandbox'
    if (health.quiesced) await askContinue(guest, machineLimits.guestReadyMs)
    return undefined
  } catch (error) {
    context.logger.warn(
      { sandbox: record.id, err: error },
      'the guest of a recovered sandbox does not answer',
    )
    return error instanceof AtollError ? error.code : 'internal'
  }
}
