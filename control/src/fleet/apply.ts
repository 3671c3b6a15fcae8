import { AtollError, type Ended, type NodeSandbox } from '@atoll/protocol'
import type { Context } from '../context.ts'
import { readSandbox } from '../sandboxes/find.ts'
import { type Change, transition } from '../sandboxes/transition.ts'
import type { SandboxRow } from '../store/tables.ts'

/** The one node that control asks so far. */
export const nodeName = 'local'

/** Tries of a compare-and-set before the caller is told that the sandbox changes too fast. */
const maxTries = 8

/** Asks the node what a sandbox is and brings the record in line: the probe decides (invariant 3). */
export const probe = async (context: Context, row: SandboxRow): Promise<SandboxRow> => {
  if (row.state === 'ended') return row
  const seen = await askNode(context, row.id)
  if (seen !== undefined) return await applySeen(context, row, seen)
  return context.creating.has(row.id) ? row : await applyLost(context, row)
}

/** The node's answer, or undefined when it never had that sandbox. */
export const askNode = async (context: Context, id: string): Promise<NodeSandbox | undefined> => {
  try {
    return await context.node.get(id)
  } catch (error) {
    if (error instanceof AtollError && error.code === 'not_found') return undefined
    throw error
  }
}

/** Writes what the node saw into the record, again and again until the compare-and-set holds. */
export const applySeen = async (
  context: Context,
  first: SandboxRow,
  seen: NodeSandbox,
): Promise<SandboxRow> => {
  let row = first
  for (let tries = 0; tries < maxTries; tries++) {
    if (row.state === 'ended') return row
    const change = difference(row, seen)
    if (change === undefined) return row
    const event = { type: typeOf(change), atMs: context.clock.now(), data: dataOf(row, seen) }
    const after = await transition(context, row, change, event)
    if (after !== undefined) return after
    row = (await readSandbox(context, row.id)) ?? row
  }
  throw tooFast(row.id)
}

const typeOf = (change: Change): string => {
  if (change.state !== undefined) return `state.${change.state}`
  // Frozen became stored: one state to the user, and still worth an entry.
  return change.depth === undefined ? 'lease' : 'depth'
}

const dataOf = (row: SandboxRow, seen: NodeSandbox): Record<string, unknown> => ({
  from: row.state,
  ...(seen.ended === null ? {} : { ended: seen.ended }),
  ...(seen.depth === null ? {} : { depth: seen.depth }),
  ...(seen.generation === row.generation ? {} : { generation: seen.generation }),
})

const difference = (row: SandboxRow, seen: NodeSandbox): Change | undefined => {
  const change: Change = {}
  if (row.state !== seen.state) change.state = seen.state
  if (row.expires_at_ms !== seen.lease.expiresAtMs) change.expires_at_ms = seen.lease.expiresAtMs
  if (row.on_timeout !== seen.lease.onTimeout) change.on_timeout = seen.lease.onTimeout
  const idle = seen.lease.idle === null ? null : JSON.stringify(seen.lease.idle)
  if (row.idle !== idle) change.idle = idle
  if (row.timeout_ms !== seen.lease.timeoutMs) change.timeout_ms = seen.lease.timeoutMs
  const autoResume = seen.lease.autoResume ? 1 : 0
  if (row.auto_resume !== autoResume) change.auto_resume = autoResume
  if (row.depth !== seen.depth) change.depth = seen.depth
  if (row.generation !== seen.generation) change.generation = seen.generation
  if (Object.keys(change).length === 0) return undefined
  change.isolation = JSON.stringify(seen.isolation)
  change.timings = JSON.stringify(seen.timings)
  if (seen.state === 'ended') {
    const ended = seen.ended ?? unrecorded(row)
    change.ended = JSON.stringify(ended)
    change.ended_at_ms = ended.atMs
  }
  return change
}

const unrecorded = (row: SandboxRow): Ended => ({
  cause: 'fault',
  by: null,
  atMs: row.created_at_ms,
  message: 'the node says that it ended and gives no cause',
  receipt: null,
})

/** The node has no record of it: a creation that never arrived, or a node that lost its data. */
const applyLost = (context: Context, row: SandboxRow): Promise<SandboxRow> =>
  row.state === 'creating'
    ? endRecord(
        context,
        row,
        'create_failed',
        null,
        'the node never got the creation: control stopped in between',
      )
    : endRecord(context, row, 'host_lost', null, 'the node has no record of it any more')

/** Ends the record for a cause that control itself knows. An end that is there already stays. */
export const endRecord = async (
  context: Context,
  first: SandboxRow,
  cause: Ended['cause'],
  by: string | null,
  message: string,
  receipt: Ended['receipt'] = null,
): Promise<SandboxRow> => {
  let row = first
  const ended: Ended = { cause, by, atMs: context.clock.now(), message, receipt }
  for (let tries = 0; tries < maxTries; tries++) {
    if (row.state === 'ended') return row
    const change = { state: 'ended', ended: JSON.stringify(ended), ended_at_ms: ended.atMs }
    const event = { type: 'state.ended', atMs: ended.atMs, data: { from: row.state, ended } }
    const after = await transition(context, row, change, event)
    if (after !== undefined) return after
    row = (await readSandbox(context, row.id)) ?? row
  }
  throw tooFast(row.id)
}

const tooFast = (id: string): AtollError =>
  new AtollError(
    'overloaded',
    `cannot record the state of sandbox ${id}: it changed ${maxTries} times meanwhile; try again`,
  )
