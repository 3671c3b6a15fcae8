import { AtollError, type Lifecycle } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { storeAtMs } from './rest.ts'
import { askGuestUse, knownHolders, lastHeldMs, mergeHolders } from './holders.ts'

/** What keeps a sandbox alive, and what will happen to it when. */
export const explainLifecycle = async (context: Context, record: SandboxRecord): Promise<Lifecycle> => {
  if (record.ended !== null)
    return {
      state: record.state,
      holders: [],
      idleSinceMs: null,
      next: [],
      explanation: `It ended at ${iso(record.ended.atMs)}: ${record.ended.cause}. ${record.ended.message}`,
    }
  const { use, note } = await guestUse(context, record)
  // What stands still is held by nothing, and idles for nobody.
  const known = record.state === 'paused' ? [] : knownHolders(context, record.id)
  const holders = mergeHolders(known, use.holders)
  const heldMs = Math.max(lastHeldMs(context, record), use.lastEndMs)
  const idleSinceMs = record.state === 'running' && holders.length === 0 && note === '' ? heldMs : null
  const next = nextSteps(context, record, idleSinceMs)
  const why =
    holders.length === 0
      ? 'Nothing holds it.'
      : `Held by ${holders.map(({ kind, name }) => `${kind} ${name}`).join(', ')}.`
  const then = next[0]
  return {
    state: record.state,
    holders,
    idleSinceMs,
    next,
    explanation: [
      `It is ${record.state}.`,
      record.state === 'running' ? why : '',
      note,
      record.state === 'paused' ? pausedNote(record) : '',
      then === undefined
        ? 'Nothing will happen to it by itself.'
        : `Next: ${then.action} at ${iso(then.atMs)}, because ${then.because}.`,
    ]
      .filter((part) => part !== '')
      .join(' '),
  }
}

const iso = (unixMs: number): string => new Date(unixMs).toISOString()

/** An explanation must not fail because the guest is silent; it says so instead. */
const guestUse = async (context: Context, record: SandboxRecord) => {
  const none = { holders: [], lastEndMs: 0 }
  if (record.state !== 'running') return { use: none, note: '' }
  try {
    return { use: await askGuestUse(context, record.id), note: '' }
  } catch (error) {
    if (!(error instanceof AtollError)) throw error
    return { use: none, note: `Its guest could not be asked for processes (${error.code}).` }
  }
}

const pausedNote = ({ depth, lease }: SandboxRecord): string =>
  [
    depth === 'stored'
      ? 'Its memory and disk are saved and it uses neither CPU nor memory.'
      : 'It stands frozen in memory, uses no CPU and would be lost with the host.',
    lease.autoResume
      ? 'The next command, file or port call resumes it.'
      : 'It comes back when it is resumed.',
    'It is deleted only when someone asks.',
  ].join(' ')

const nextSteps = (
  context: Context,
  record: SandboxRecord,
  idleSinceMs: number | null,
): Lifecycle['next'] => {
  const { lease } = record
  const next: Lifecycle['next'] = []
  if (record.state === 'paused') {
    const atMs = record.depth === 'frozen' ? storeAtMs(context, record) : undefined
    if (atMs !== undefined)
      next.push({ atMs, action: 'store', because: 'it was frozen for long, or sooner if memory is short' })
    return next
  }
  if (record.state !== 'stopped' || lease.onTimeout === 'delete')
    next.push({ atMs: lease.expiresAtMs, action: lease.onTimeout, because: 'its time is over' })
  if (lease.idle !== null && idleSinceMs !== null)
    next.push({
      atMs: idleSinceMs + lease.idle.afterMs,
      action: lease.idle.action,
      because: `nothing has held it for ${lease.idle.afterMs} ms by then`,
    })
  return next.toSorted((left, right) => left.atMs - right.atMs)
}
