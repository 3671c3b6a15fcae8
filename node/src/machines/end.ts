import { readdir } from 'node:fs/promises'
import { AtollError, type EndCause, type Receipt } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import { snapshotFolder } from '../snapshots/store.ts'
import type { Context } from './context.ts'
import { findMachine } from './find-machine.ts'
import { machineLimits } from './limits.ts'
import { removeDirectory } from './remove-directory.ts'
import { directoryOf } from './sandbox-directory.ts'
import { transition } from './transition.ts'

/** Why a sandbox is ended. */
export interface Ending {
  readonly cause: EndCause
  readonly by: string
  readonly message: string
}

const emptyReceipt: Receipt = { processes: 0, cgroups: 0, mounts: 0, files: 0, durationMs: 0 }

/**
 * Ends a sandbox from whatever state, once: callers of the same time share one teardown, later ones its
 * receipt (invariant 4). `unwind` is false for the work that ends its own sandbox.
 */
export const endSandbox = async (
  context: Context,
  record: SandboxRecord,
  ending: Ending,
  unwind = true,
): Promise<Receipt> => {
  const under = context.ends.get(record.id)
  if (under !== undefined) return await under
  if (record.ended !== null) return record.ended.receipt ?? emptyReceipt
  const claimed = claim(context, record, ending)
  const work = teardown(context, claimed, unwind)
    .catch((error: unknown) => retryLater(context, claimed.id, error))
    .finally(() => context.ends.delete(record.id))
  context.ends.set(record.id, work)
  return await work
}

/** The record stays `deleting`; the ticker tries again, and so may anyone who deletes it. */
const retryLater = (context: Context, id: string, error: unknown): never => {
  const record = context.records.sandboxes.get(id)
  const message = error instanceof Error ? error.message : String(error)
  context.logger.error({ sandbox: id, err: error }, 'a teardown failed and will be tried again')
  if (record?.state === 'deleting')
    transition(
      context,
      record,
      { stateDeadlineMs: context.clock.now() + machineLimits.teardownRetryMs },
      { type: 'teardown_failed', data: { message } },
    )
  throw error instanceof AtollError
    ? error
    : new AtollError('internal', `cannot end ${id}: ${message}; it is tried again`, { cause: error })
}

/** A deletion that was begun before goes on with the cause it began with. */
const claim = (context: Context, record: SandboxRecord, ending: Ending): SandboxRecord => {
  const stateDeadlineMs = context.clock.now() + machineLimits.teardownMs
  if (record.state === 'deleting') return transition(context, record, { stateDeadlineMs })
  return transition(
    context,
    record,
    { state: 'deleting', ending, stateDeadlineMs },
    { type: 'deleting', data: { cause: ending.cause, by: ending.by } },
  )
}

const teardown = async (context: Context, record: SandboxRecord, unwind: boolean): Promise<Receipt> => {
  const began = context.clock.monotonic()
  const ending = record.ending ?? { cause: 'fault', by: 'node', message: 'no cause was recorded' }
  const refusal = new AtollError('sandbox_ended', `${record.id} is being deleted (${ending.cause})`, {
    sandboxState: 'deleting',
    details: { cause: ending.cause },
  })
  const work = context.work.get(record.id)
  if (unwind && work !== undefined) {
    work.abort(refusal)
    await work.unwound
  }
  const live = context.live.get(record.id)
  live?.guest.close(refusal)
  const machine = live?.machine ?? (await findMachine(context, record))
  const freed = await machine?.destroy(AbortSignal.timeout(machineLimits.teardownMs))
  const folder = record.machineId === null ? 0 : await removeDirectory(directoryOf(context, record.machineId))
  const files = folder + (record.saved === null ? 0 : await removeSaved(context, record.saved))
  context.live.delete(record.id)
  const receipt: Receipt = {
    processes: freed?.processes ?? 0,
    cgroups: freed?.cgroups ?? 0,
    mounts: freed?.mounts ?? 0,
    files: (freed?.files ?? 0) + files,
    durationMs: Math.round(context.clock.monotonic() - began),
  }
  bury(context, record.id, ending, receipt)
  return receipt
}

/** The state that nobody resumes any more; files that a user's snapshot shares stay. Answers how many went. */
const removeSaved = async (context: Context, saved: string): Promise<number> => {
  const row = context.records.snapshots.get(saved)
  if (row === undefined) return 0
  const entries = await readdir(snapshotFolder(context.snapshots, row.digest)).catch(() => [])
  return (await forgetSnapshot(context, saved)) > 0 ? entries.length + 1 : 0
}

/** The tombstone: cause, receipt and what was asked, without the env that nobody needs to keep. */
const bury = (context: Context, id: string, ending: Ending, receipt: Receipt): void => {
  const record = context.records.sandboxes.get(id)
  if (record === undefined) return
  const ended = { ...ending, atMs: context.clock.now(), receipt }
  transition(
    context,
    record,
    {
      state: 'ended',
      ended,
      spec: { ...record.spec, env: {} },
      machine: null,
      machineId: null,
      slot: null,
      depth: null,
      saved: null,
      pausedAtMs: null,
      stateDeadlineMs: null,
    },
    { type: 'ended', data: { ...ended } },
  )
  context.records.leases.clear(id)
}

/** Refuses what needs a living sandbox, with the recorded cause (invariant 2): also while it is torn down. */
export const endedError = (record: SandboxRecord, act: string): AtollError => {
  const end = record.ended ?? record.ending
  const how = record.ended === null ? 'it is being deleted' : 'it ended'
  const why = end === null ? ': no cause was recorded' : ` (${end.cause}): ${end.message}`
  return new AtollError('sandbox_ended', `${act} ${record.id}: ${how}${why}`, {
    sandboxState: record.state,
    details: {
      cause: end?.cause ?? null,
      by: end?.by ?? null,
      endedAtMs: record.ended?.atMs ?? null,
    },
  })
}
