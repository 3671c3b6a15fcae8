import { createHash } from 'node:crypto'
import {
  AtollError,
  type ForkResult,
  type ForkSandbox,
  idlePolicySchema,
  type Lease,
  leaseActionSchema,
  makeId,
  type NodeForkChild,
  sandboxIdSchema,
} from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { applySeen, probe } from '../fleet/apply.ts'
import type { SandboxRow } from '../store/tables.ts'
import { abandonCreation } from './abandon.ts'
import { findSandbox, refuseEnded, sandboxEnded } from './find.ts'
import { insertSandboxes } from './insert.ts'
import { hostnameOf } from './new-id.ts'
import { viewSandbox } from './view.ts'

type Child = ForkResult['children'][number]

/** Tries of one Idempotency-Key that may have failed as a whole before it is refused. */
const maxTries = 64

/**
 * Copies a sandbox with its memory, processes and files. The children's records stand before the node begins;
 * their ids follow from `seed`, which an Idempotency-Key stands for: a repeated call finds the same children.
 */
export const forkSandbox = async (
  context: Context,
  caller: Caller,
  id: string,
  input: ForkSandbox,
  seed: string,
): Promise<ForkResult> => {
  const found = await findSandbox(context, caller, id)
  const { ids, before } = await findTry(context, seed, input.count)
  if (before.length > 0) return await takeUp(context, id, before)
  const parent = await probe(context, found)
  refuseEnded(parent, 'fork')
  const rows = ids.map((childId) => childRow(context, caller, parent, input, childId))
  for (const row of rows) context.creating.add(row.id)
  try {
    await insertSandboxes(context, rows)
    return await askFork(context, caller, parent, rows)
  } finally {
    for (const row of rows) context.creating.delete(row.id)
  }
}

/** The children of the first try that did not fail as a whole: those that are there, or the ids that are free. */
const findTry = async (
  context: Context,
  seed: string,
  count: number,
): Promise<{ ids: string[]; before: SandboxRow[] }> => {
  for (let attempt = 0; attempt < maxTries; attempt++) {
    const ids = Array.from({ length: count }, (_, index) => childId(seed, attempt, index))
    const rows = await context.db.selectFrom('sandboxes').selectAll().where('id', 'in', ids).execute()
    if (!rows.every(neverWas) || rows.length === 0) return { ids, before: inOrder(ids, rows) }
  }
  throw new AtollError(
    'overloaded',
    `cannot fork with this Idempotency-Key: ${maxTries} tries failed; take a new key`,
  )
}

const childId = (seed: string, attempt: number, index: number): string =>
  makeId('sbx', createHash('sha256').update(`${seed} ${attempt} ${index}`).digest())

const neverWas = (row: SandboxRow): boolean =>
  row.ended !== null && JSON.parse(row.ended).cause === 'create_failed'

const inOrder = (ids: readonly string[], rows: readonly SandboxRow[]): SandboxRow[] =>
  ids.flatMap((id) => rows.find((row) => row.id === id) ?? [])

/** A repeated call after a crash in the middle: what became of each child, probed. */
const takeUp = async (
  context: Context,
  parent: string,
  before: readonly SandboxRow[],
): Promise<ForkResult> => {
  const children: Child[] = []
  let pausedMs = 0
  for (const row of before) {
    const now = await probe(context, row)
    pausedMs = Math.max(pausedMs, Number(JSON.parse(now.timings)[pausedName] ?? 0))
    children.push(childOf(now))
  }
  return { parent: sandboxIdSchema.parse(parent), pausedMs, children }
}

const childOf = (row: SandboxRow): Child => {
  if (row.state !== 'ended') return { ok: true, sandbox: viewSandbox(row) }
  const error = sandboxEnded(row.id, 'use', row.ended === null ? null : JSON.parse(row.ended))
  return { ok: false, id: sandboxIdSchema.parse(row.id), error: error.toBody() }
}

const childRow = (
  context: Context,
  caller: Caller,
  parent: SandboxRow,
  input: ForkSandbox,
  id: string,
): SandboxRow => {
  const now = context.clock.now()
  const timeoutMs = input.timeoutMs ?? parent.timeout_ms
  return {
    ...parent,
    id,
    // A name is one sandbox's; labels say what it is for, and go with the copy.
    name: null,
    state: 'creating',
    version: 1,
    event_seq: 0,
    created_at_ms: now,
    created_by: caller.key,
    expires_at_ms: now + timeoutMs,
    timeout_ms: timeoutMs,
    ended: null,
    ended_at_ms: null,
    timings: '{}',
    depth: null,
    parent: parent.id,
  }
}

/** How long the parent stood still, kept with each child for a repeated call. */
const pausedName = 'parentPaused'

const askFork = async (
  context: Context,
  caller: Caller,
  parent: SandboxRow,
  rows: readonly SandboxRow[],
): Promise<ForkResult> => {
  const begun = context.clock.monotonic()
  const fork = await context.node
    .fork(parent.id, rows.map(nodeChild), caller.key)
    .catch(async (error: unknown) => {
      for (const row of rows) await abandonCreation(context, row, error)
      throw error
    })
  const controlMs = context.clock.monotonic() - begun
  const children: Child[] = []
  for (const row of rows) {
    const made = fork.children.find((child) => child.id === row.id)
    if (made !== undefined && 'sandbox' in made) {
      const own = { [pausedName]: fork.pausedMs, control: controlMs }
      const timings = { ...made.sandbox.timings, ...own }
      children.push(childOf(await applySeen(context, row, { ...made.sandbox, timings })))
    } else {
      const error = made?.error ?? new AtollError('internal', `the node gave no answer for ${row.id}`)
      await abandonCreation(context, row, error)
      children.push({ ok: false, id: sandboxIdSchema.parse(row.id), error: error.toBody() })
    }
  }
  await recordAct(context, caller, parent.id, 'fork', {
    children: rows.map((row) => row.id),
    pausedMs: fork.pausedMs,
  })
  return { parent: sandboxIdSchema.parse(parent.id), pausedMs: fork.pausedMs, children }
}

const nodeChild = (row: SandboxRow): NodeForkChild => ({
  id: row.id,
  hostname: hostnameOf(row),
  lease: leaseOf(row),
})

const leaseOf = (row: SandboxRow): Lease => ({
  expiresAtMs: row.expires_at_ms,
  timeoutMs: row.timeout_ms,
  onTimeout: leaseActionSchema.parse(row.on_timeout),
  idle: row.idle === null ? null : idlePolicySchema.parse(JSON.parse(row.idle)),
  autoResume: row.auto_resume === 1,
  onHostLost: row.on_host_lost === 'stop' ? 'stop' : 'delete',
})
