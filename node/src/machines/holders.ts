import { AtollError, type Holder } from '@atoll/protocol'
import { askProcesses } from '../guest/calls.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import { startProcessId } from './start-command.ts'

/**
 * A client's lease: holds the sandbox for a time, whether or not the client is connected. A paused one is neither
 * resumed nor kept from disk by it.
 */
export const hold = (context: Context, record: SandboxRecord, name: string, ttlMs: number): Holder => {
  if (record.ended !== null || record.state === 'deleting') throw endedError(record, 'cannot hold')
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 1 || ttlMs > machineLimits.leaseTtlMs)
    throw new AtollError(
      'invalid_request',
      `cannot hold ${record.id}: ttlMs must be 1 to ${machineLimits.leaseTtlMs}`,
    )
  const now = context.clock.now()
  const { leases } = context.records
  const living = leases.living(record.id, now)
  if (living.length >= machineLimits.leasesPerSandbox && !living.some((lease) => lease.name === name))
    throw new AtollError(
      'overloaded',
      `cannot hold ${record.id}: it has ${machineLimits.leasesPerSandbox} leases; release one`,
    )
  const sinceMs = living.find((lease) => lease.name === name)?.sinceMs ?? now
  leases.put(record.id, name, sinceMs, now + ttlMs)
  return { kind: 'lease', name, sinceMs, untilMs: now + ttlMs }
}

/** Gives a lease up; its end counts as the last moment of use. Repeatable. */
export const release = (context: Context, record: SandboxRecord, name: string): void => {
  if (!context.records.leases.remove(record.id, name)) return
  const live = context.live.get(record.id)
  if (live !== undefined) live.lastHeldMs = context.clock.now()
}

/** What holds a sandbox as the daemon knows it, without asking the guest. */
export const knownHolders = (context: Context, id: string): Holder[] => [
  ...(context.live.get(id)?.exchanges ?? []),
  ...context.records.leases.living(id, context.clock.now()),
]

/** What the guest says of its processes: those that run, and when the last one ended. */
export const askGuestUse = async (
  context: Context,
  id: string,
): Promise<{ holders: Holder[]; lastEndMs: number }> => {
  const live = context.live.get(id)
  if (live === undefined) return { holders: [], lastEndMs: 0 }
  const processes = await askProcesses(live.guest, machineLimits.probeMs)
  const now = context.clock.now()
  const holders: Holder[] = []
  let lastEndMs = 0
  for (const process of processes) {
    if (process.id === startProcessId) continue
    // The guest's times are its word: never later than now.
    if (process.exit === null)
      holders.push({
        kind: process.terminal ? 'terminal' : 'process',
        name: process.id,
        sinceMs: Math.min(now, process.startedAtMs),
        untilMs: null,
      })
    else lastEndMs = Math.max(lastEndMs, Math.min(now, process.exit.endedAtMs))
  }
  return { holders, lastEndMs }
}

/** Exchanges of a process and the process itself are one holder. */
export const mergeHolders = (known: readonly Holder[], asked: readonly Holder[]): Holder[] => {
  const merged = new Map<string, Holder>()
  for (const holder of [...asked, ...known]) {
    const key = `${holder.kind} ${holder.name}`
    const before = merged.get(key)
    if (before === undefined || holder.sinceMs < before.sinceMs) merged.set(key, holder)
  }
  return [...merged.values()]
}

/** When a sandbox that nobody holds was last held, as far as is known without the guest. */
export const lastHeldMs = (context: Context, record: SandboxRecord): number => {
  const now = context.clock.now()
  return Math.max(
    context.live.get(record.id)?.lastHeldMs ?? 0,
    record.idleSinceMs ?? 0,
    Math.min(now, context.records.leases.lastEndMs(record.id)),
  )
}
