import { AtollError, type NodeEvent } from '@atoll/protocol'
import type { SandboxPatch, SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'

/** What an event says beside its sandbox and time. */
export interface EventContent {
  readonly type: string
  readonly data?: Readonly<Record<string, unknown>>
}

/** Changes a record by compare-and-set and logs the event in the same transaction, in which `within` runs, too. */
export const transition = (
  context: Context,
  record: SandboxRecord,
  patch: SandboxPatch,
  content?: EventContent,
  within?: () => void,
): SandboxRecord => change(context, context.records.atomic, record, patch, content, within)

/** The same without an fsync: for what a power cut would end anyway, with the sandbox itself. */
export const transitionUntilReboot = (
  context: Context,
  record: SandboxRecord,
  patch: SandboxPatch,
  content: EventContent,
): SandboxRecord => change(context, context.records.atomicUntilReboot, record, patch, content)

const change = (
  context: Context,
  atomic: Context['records']['atomic'],
  record: SandboxRecord,
  patch: SandboxPatch,
  content?: EventContent,
  within?: () => void,
): SandboxRecord => {
  let event: NodeEvent | undefined
  const next = atomic(() => {
    const changed = context.records.sandboxes.change(record, patch)
    if (changed === undefined) return undefined
    within?.()
    if (content !== undefined) event = append(context, record.id, content)
    return changed
  })
  if (next === undefined) {
    const now = context.records.sandboxes.get(record.id)
    throw new AtollError(
      'state_conflict',
      `cannot change ${record.id}: it is ${now?.state ?? 'gone'} by now; ask for its state and try again`,
      now === undefined ? {} : { sandboxState: now.state },
    )
  }
  if (event !== undefined) emit(context, event)
  return next
}

/**
 * The same for the owner of a state that lasts: what else changed meanwhile, its lease say, stays. Refused when
 * the sandbox has left the state.
 */
export const transitionFrom = (
  context: Context,
  { id, state }: Pick<SandboxRecord, 'id' | 'state'>,
  patch: SandboxPatch,
  content?: EventContent,
  within?: () => void,
): SandboxRecord => {
  const now = context.records.sandboxes.get(id)
  if (now?.state === state) return transition(context, now, patch, content, within)
  throw new AtollError(
    'state_conflict',
    `cannot change ${id}: it is ${now?.state ?? 'gone'} and no longer ${state}; ask for its state and try again`,
    now === undefined ? {} : { sandboxState: now.state },
  )
}

/** Logs an event without a change of state. */
export const report = (context: Context, sandbox: string, content: EventContent): void =>
  emit(context, append(context, sandbox, content))

const append = (context: Context, sandbox: string, content: EventContent): NodeEvent =>
  context.records.events.append({
    atMs: context.clock.now(),
    sandbox,
    type: content.type,
    data: content.data ?? {},
  })

/** After the commit only: a listener that fails must not undo what happened. */
const emit = (context: Context, event: NodeEvent): void => {
  for (const listener of context.listeners) {
    try {
      listener(event)
    } catch (error) {
      context.logger.error({ err: error, event: event.seq }, 'a listener of events failed')
    }
  }
}
