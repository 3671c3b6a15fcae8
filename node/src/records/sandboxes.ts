import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite'
import type {
  EndCause,
  Ended,
  Isolation,
  Lease,
  NodeSandboxSpec,
  PauseDepth,
  RuntimeName,
  SandboxState,
} from '@atoll/protocol'
import { limits } from '@atoll/protocol'
import type { MachineRecord } from '../runtimes/driver.ts'

/** What node.db knows of a sandbox. `version` grows by one with every change. */
export interface SandboxRecord {
  readonly id: string
  readonly state: SandboxState
  readonly version: number
  /** As asked; of an ended one without env, which may hold what nobody needs to keep (invariant 7). */
  readonly spec: NodeSandboxSpec
  readonly specHash: string
  readonly runtime: RuntimeName
  readonly isolation: Isolation
  readonly lease: Lease
  readonly machine: MachineRecord | null
  /** Names the machine's folder below sandboxes/: the sandbox's own id, or that of the pool's machine that it claimed. */
  readonly machineId: string | null
  /** Of the identity that its guest has; grows with each capture that it came back from. */
  readonly generation: number
  /** Of a paused one. */
  readonly depth: PauseDepth | null
  /** Id of the row in `snapshots` that holds its state while it is stored or, where the runtime keeps no disk of its own, stopped. */
  readonly saved: string | null
  readonly pausedAtMs: number | null
  /** The sandbox that it was forked from. */
  readonly parent: string | null
  /** The host's boot in which it last ran: process ids of another boot identify nothing. */
  readonly bootId: string
  /** Of the table of user id ranges; null once everything is freed. */
  readonly slot: number | null
  readonly createdAtMs: number
  /** When a transitional state counts as stuck; null in a resting state. */
  readonly stateDeadlineMs: number | null
  readonly idleSinceMs: number | null
  /** Why and by whom it is being ended: a deletion goes on with it after a crash. */
  readonly ending: { readonly cause: EndCause; readonly by: string; readonly message: string } | null
  readonly ended: Ended | null
  readonly timings: Readonly<Record<string, number>>
}

/** What a change may set. */
export type SandboxPatch = Partial<Omit<SandboxRecord, 'id' | 'version' | 'specHash' | 'createdAtMs'>>

const columns = [
  'state',
  'version',
  'spec',
  'spec_hash',
  'runtime',
  'isolation',
  'expires_at_ms',
  'lease',
  'machine',
  'boot_id',
  'slot',
  'created_at_ms',
  'state_deadline_ms',
  'idle_since_ms',
  'ending',
  'ended',
  'ended_at_ms',
  'timings',
  'machine_id',
  'generation',
  'depth',
  'saved',
  'paused_at_ms',
  'parent',
  'id',
] as const

/** User id ranges in use: of sandboxes, and of the pool's machines. */
const usedSlots = 'SELECT slot FROM sandboxes WHERE slot IS NOT NULL UNION ALL SELECT slot FROM pool'

/** Rows of `sandboxes`. */
export const sandboxRecords = (database: DatabaseSync) => {
  const insert = database.prepare(
    `INSERT INTO sandboxes (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  const update = database.prepare(
    `UPDATE sandboxes SET ${columns
      .slice(0, -1)
      .map((column) => `${column} = ?`)
      .join(', ')} WHERE id = ? AND version = ?`,
  )
  const one = database.prepare('SELECT * FROM sandboxes WHERE id = ?')
  const all = database.prepare('SELECT * FROM sandboxes ORDER BY created_at_ms, id')
  const living = database.prepare("SELECT * FROM sandboxes WHERE state <> 'ended' ORDER BY created_at_ms, id")
  const held = database.prepare(
    `SELECT count(*) AS count,
            coalesce(sum(CASE WHEN state = 'stopped' OR (state = 'paused' AND depth = 'stored') THEN 0 ELSE json_extract(spec, '$.limits.memoryMib') END), 0) AS memory
     FROM sandboxes WHERE state <> 'ended'`,
  )
  const images = database.prepare(
    "SELECT DISTINCT json_extract(spec, '$.imageDigest') AS digest FROM sandboxes WHERE state <> 'ended'",
  )
  const forget = database.prepare('DELETE FROM sandboxes WHERE ended_at_ms < ?')
  const freeSlot = database.prepare(
    `SELECT coalesce(min(candidate), 0) AS slot FROM (
       SELECT 0 AS candidate UNION ALL SELECT slot + 1 FROM (${usedSlots})
     ) WHERE candidate NOT IN (SELECT slot FROM (${usedSlots}))`,
  )
  return {
    insert: (record: SandboxRecord): void => void insert.run(...toRow(record)),
    get: (id: string): SandboxRecord | undefined => {
      const row = one.get(id)
      return row === undefined ? undefined : fromRow(row)
    },
    all: (): SandboxRecord[] => all.all().map(fromRow),
    living: (): SandboxRecord[] => living.all().map(fromRow),
    /** Compare and set: undefined when the record is no longer at the version that was read. */
    change: (record: SandboxRecord, patch: SandboxPatch): SandboxRecord | undefined => {
      const next: SandboxRecord = { ...record, ...patch, version: record.version + 1 }
      return update.run(...toRow(next), record.version).changes === 1 ? next : undefined
    },
    /** What is promised to those that are not ended; a stopped or stored one holds no memory. */
    held: (): { count: number; memoryMib: number } => {
      const row = held.get()
      return { count: Number(row?.['count']), memoryMib: Number(row?.['memory']) }
    },
    /** Digests of the images that living sandboxes stand on. */
    images: (): Set<string> => new Set(images.all().map((row) => String(row['digest']))),
    /** The lowest slot that no record holds. */
    freeSlot: (): number => Number(freeSlot.get()?.['slot']),
    /** Tombstones older than that go. */
    forgetEndedBefore: (unixMs: number): number => Number(forget.run(unixMs).changes),
  }
}

const json = (value: unknown): string | null => (value === null ? null : JSON.stringify(value))

const toRow = (record: SandboxRecord): SQLInputValue[] => [
  record.state,
  record.version,
  JSON.stringify(record.spec),
  record.specHash,
  record.runtime,
  JSON.stringify(record.isolation),
  record.lease.expiresAtMs,
  JSON.stringify(record.lease),
  json(record.machine),
  record.bootId,
  record.slot,
  record.createdAtMs,
  record.stateDeadlineMs,
  record.idleSinceMs,
  json(record.ending),
  json(record.ended),
  record.ended?.atMs ?? null,
  JSON.stringify(record.timings),
  record.machineId,
  record.generation,
  record.depth,
  record.saved,
  record.pausedAtMs,
  record.parent,
  record.id,
]

type Row = Record<string, SQLOutputValue>

// What is read here was written by toRow from typed values: node.db is 0600 and ours alone.
const parsed = (value: SQLOutputValue | undefined) => (typeof value === 'string' ? JSON.parse(value) : null)
const numberOrNull = (value: SQLOutputValue | undefined): number | null =>
  typeof value === 'number' ? value : null

const textOrNull = (value: SQLOutputValue | undefined): string | null =>
  typeof value === 'string' ? value : null

const fromRow = (row: Row): SandboxRecord => ({
  id: String(row['id']),
  state: String(row['state']) as SandboxState,
  version: Number(row['version']),
  // Rows of before templates' commands were run have none.
  spec: { snapshot: null, start: null, ready: null, ...parsed(row['spec']) },
  specHash: String(row['spec_hash']),
  runtime: String(row['runtime']) as RuntimeName,
  isolation: parsed(row['isolation']),
  // Rows of before leases had these two.
  lease: { timeoutMs: limits.timeoutDefaultMs, autoResume: true, ...parsed(row['lease']) },
  machine: parsed(row['machine']),
  bootId: String(row['boot_id']),
  slot: numberOrNull(row['slot']),
  createdAtMs: Number(row['created_at_ms']),
  stateDeadlineMs: numberOrNull(row['state_deadline_ms']),
  idleSinceMs: numberOrNull(row['idle_since_ms']),
  ending: parsed(row['ending']),
  ended: parsed(row['ended']),
  timings: parsed(row['timings']),
  machineId: textOrNull(row['machine_id']),
  generation: Number(row['generation']),
  depth: textOrNull(row['depth']) as PauseDepth | null,
  saved: textOrNull(row['saved']),
  pausedAtMs: numberOrNull(row['paused_at_ms']),
  parent: textOrNull(row['parent']),
})
