import type { SandboxRecord } from '../records/sandboxes.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import type { Context } from './context.ts'
import { endSandbox } from './end.ts'
import { recordExit } from './exited.ts'
import { unfinishedMachine } from './find-machine.ts'
import { machineLimits } from './limits.ts'
import { isAside, releaseMachine } from './release-machine.ts'
import { directoryOf } from './sandbox-directory.ts'
import { takeBack } from './take-back.ts'
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
  await forgetOrphans(context)
}

/** Takes one back. A fault leaves it as it was: the ticker tries again. */
export const recoverSandbox = async (context: Context, record: SandboxRecord): Promise<void> => {
  switch (record.state) {
    case 'running':
    case 'pausing':
      return await recoverLive(context, record)
    case 'paused':
      if (record.depth === 'frozen') return await recoverLive(context, record)
      return await releaseMachine(context, record.id)
    case 'resuming':
      // The machine of the attempt is in the pool's records, and freed from there.
      return settle(context, record, 'paused')
    case 'creating':
      // It may have run: that record need not have reached the disk before the power went.
      if (record.bootId !== context.bootId)
        return await lose(context, record, 'host_lost', 'the host was started anew')
      return await lose(context, record, 'create_failed', 'the node daemon ended while it was being created')
    case 'stopping':
      // Where the disk lives in the guest it was not saved yet: that is recorded together.
      return (await keepsDisk(context, record))
        ? await settleDisk(context, record)
        : await recoverLive(context, record)
    case 'starting':
      if (record.saved !== null) return settle(context, record, 'stopped')
      return await settleDisk(context, record)
    case 'stopped':
      return await releaseMachine(context, record.id)
    case 'deleting':
      // Not waited for: the ticker goes on with it.
      return
    case 'ended':
      return
  }
}

const recoverLive = async (context: Context, record: SandboxRecord): Promise<void> => {
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
  if (machine !== undefined) return await takeBack(context, record, machine)
  const exit = await driver.lastExit(record.machine)
  if (exit !== undefined && (record.state === 'running' || record.state === 'paused'))
    return await recordExit(context, record.id, exit)
  await lose(context, record, 'fault', 'its machine was gone when the node daemon came back')
}

/** A disk that is a file of the machine's folder is there after the machine, and after the host's boot. */
const keepsDisk = async (context: Context, { runtime, machineId }: SandboxRecord): Promise<boolean> => {
  const { diskStop, diskSnapshot } = await context.runtimes.capabilities(runtime)
  return diskStop && diskSnapshot !== 'guest' && machineId !== null
}

/** The host was started anew: nothing of the former boot runs, and pids of it identify nothing. */
const hostLost = async (context: Context, record: SandboxRecord): Promise<void> => {
  const { machineId: id } = record
  if (id === null || record.lease.onHostLost !== 'stop' || !(await keepsDisk(context, record)))
    return await lose(context, record, 'host_lost', 'the host was started anew')
  await context.runtimes
    .driver(record.runtime)
    ?.recover(
      unfinishedMachine({ ...record, id }, directoryOf(context, id)),
      AbortSignal.timeout(machineLimits.bootMs),
    )
  settle(context, record, 'stopped', 'the host was started anew')
}

/** A daemon that ended between running and stopped: what is left of the machine goes, the disk stays. */
const settleDisk = async (context: Context, record: SandboxRecord): Promise<void> => {
  if (record.bootId === context.bootId) {
    const driver = context.runtimes.driver(record.runtime)
    const machine =
      record.machine === null
        ? undefined
        : await driver?.recover(record.machine, AbortSignal.timeout(machineLimits.bootMs))
    await machine?.destroy(AbortSignal.timeout(machineLimits.teardownMs))
  }
  settle(context, record, 'stopped')
}

/** Back to where the transition began, with all that was saved. */
const settle = (
  context: Context,
  record: SandboxRecord,
  state: 'paused' | 'stopped',
  because = `the node daemon ended while it was ${record.state}`,
): void => {
  const rest = { stateDeadlineMs: null, idleSinceMs: null }
  transition(
    context,
    record,
    state === 'paused' || isAside({ ...record, state })
      ? { ...rest, state }
      : { ...rest, state, machine: null, depth: null, pausedAtMs: null },
    { type: state, data: { by: 'node', because } },
  )
}

/** Saved states that were used, and whose removal a daemon did not survive. */
const forgetOrphans = async (context: Context): Promise<void> => {
  const named = new Set(context.records.sandboxes.living().map(({ saved }) => saved))
  for (const { id } of context.records.snapshots.ofOwner('sandbox'))
    if (!named.has(id)) await forgetSnapshot(context, id)
}

const lose = async (
  context: Context,
  record: SandboxRecord,
  cause: 'fault' | 'host_lost' | 'create_failed',
  message: string,
): Promise<void> => {
  await endSandbox(context, record, { cause, by: 'node', message })
}
