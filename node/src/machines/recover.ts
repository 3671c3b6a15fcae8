import { AtollError } from '@atoll/protocol'
import { askHealth } from '../guest/calls.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { liveOf } from './boot.ts'
import type { Context } from './context.ts'
import { endSandbox, unfinishedMachine } from './end.ts'
import { recordExit, watchExit } from './exited.ts'
import { machineLimits } from './limits.ts'
import { directoryOf } from './sandbox-directory.ts'
import { transition } from './transition.ts'

/** Recoveries at a time, at the start of the daemon. */
const recoveriesAtATime = 8

/** After a restart: takes back what runs and ends the records of what does not (invariant 3). */
export const recoverAll = async (context: Context): Promise<void> => {
  const records = context.records.sandboxes.living()
  for (let at = 0; at < records.length; at += recoveriesAtATime)
    await Promise.all(
      records.slice(at, at + recoveriesAtATime).map(async (record) => {
        try {
          await recoverSandbox(context, record)
        } catch (error) {
          context.logger.error({ sandbox: record.id, err: error }, 'a sandbox could not be recovered')
        }
      }),
    )
}

/** Takes one back. A fault leaves it as it was: the ticker tries again. */
export const recoverSandbox = async (context: Context, record: SandboxRecord): Promise<void> => {
  switch (record.state) {
    case 'running':
    case 'paused':
      return await recoverRunning(context, record)
    case 'creating':
      return await lose(context, record, 'create_failed', 'the node daemon ended while it was being created')
    case 'starting':
    case 'stopping':
      return await settleStopped(context, record)
    case 'deleting':
      // Not waited for: the ticker goes on with it.
      return
    case 'stopped':
    case 'ended':
      return
  }
}

const recoverRunning = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.bootId !== context.bootId) return await hostLost(context, record)
  const driver = context.runtimes.driver(record.runtime)
  if (driver === undefined || record.machine === null) {
    context.logger.error(
      { sandbox: record.id, runtime: record.runtime },
      'no driver to recover a sandbox with',
    )
    return
  }
  const machine = await driver.recover(record.machine, AbortSignal.timeout(machineLimits.bootMs))
  if (machine === undefined) {
    const exit = await driver.lastExit(record.machine)
    if (exit !== undefined) return await recordExit(context, record.id, exit)
    return await lose(context, record, 'fault', 'its machine was gone when the node daemon came back')
  }
  const live = liveOf(context, record.id, machine)
  context.live.set(record.id, live)
  watchExit(context, live)
  // A guest that does not answer now is no reason to end what may hold someone's work; its state says so.
  const fault = await probeGuest(context, record, live.guest)
  await machine.setDeadline(
    record.lease.expiresAtMs + machineLimits.hostDeadlineGraceMs,
    AbortSignal.timeout(machineLimits.probeMs),
  )
  const current = context.records.sandboxes.get(record.id)
  if (current?.state === record.state)
    transition(
      context,
      current,
      { machine: machine.record },
      { type: 'recovered', data: fault === undefined ? {} : { guest: fault } },
    )
}

const probeGuest = async (
  context: Context,
  record: SandboxRecord,
  guest: Parameters<typeof askHealth>[0],
): Promise<string | undefined> => {
  try {
    const health = await askHealth(guest, machineLimits.probeMs)
    if (health.sandboxId === record.id && health.adopted) return undefined
    return 'the guest answers for another sandbox'
  } catch (error) {
    context.logger.warn(
      { sandbox: record.id, err: error },
      'the guest of a recovered sandbox does not answer',
    )
    return error instanceof AtollError ? error.code : 'internal'
  }
}

/** The host was started anew: nothing of the former boot runs, and pids of it identify nothing. */
const hostLost = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.lease.onHostLost !== 'stop')
    return await lose(context, record, 'host_lost', 'the host was started anew')
  const { machineId: id } = record
  if (id !== null)
    await context.runtimes
      .driver(record.runtime)
      ?.recover(
        unfinishedMachine({ ...record, id }, directoryOf(context, id)),
        AbortSignal.timeout(machineLimits.bootMs),
      )
  transition(
    context,
    record,
    { state: 'stopped', machine: null, stateDeadlineMs: null, idleSinceMs: null },
    { type: 'stopped', data: { by: 'node', because: 'the host was started anew' } },
  )
}

/** A daemon that ended between running and stopped: what is left of the machine goes, the disk stays. */
const settleStopped = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.bootId === context.bootId) {
    const driver = context.runtimes.driver(record.runtime)
    const machine =
      record.machine === null
        ? undefined
        : await driver?.recover(record.machine, AbortSignal.timeout(machineLimits.bootMs))
    await machine?.destroy(AbortSignal.timeout(machineLimits.teardownMs))
  }
  transition(
    context,
    record,
    { state: 'stopped', machine: null, stateDeadlineMs: null },
    { type: 'stopped', data: { by: 'node', because: `the node daemon ended while it was ${record.state}` } },
  )
}

const lose = async (
  context: Context,
  record: SandboxRecord,
  cause: 'fault' | 'host_lost' | 'create_failed',
  message: string,
): Promise<void> => {
  await endSandbox(context, record, { cause, by: 'node', message })
}
