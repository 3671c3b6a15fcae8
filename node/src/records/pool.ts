import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import type { RuntimeName } from '@atoll/protocol'
import type { MachineRecord } from '../runtimes/driver.ts'

/**
 * A machine that no sandbox's record names. `ready` waits frozen, with a guest that answered; `blank` waits
 * frozen for an image; `begun` is on its way to one of them or to a sandbox, and worth nothing after a crash.
 */
export interface PoolRecord {
  readonly machineId: string
  readonly role: 'ready' | 'blank' | 'begun'
  /** Runtime, image and disk size: what a claim must agree on. */
  readonly key: string
  readonly runtime: RuntimeName
  readonly slot: number
  readonly machine: MachineRecord | null
  readonly bootId: string
  readonly createdAtMs: number
}

/**
 * Rows of `pool`. A row goes in the transaction in which a sandbox's record begins to name its machine: a
 * trigger of the database sees to it, so that no machine is ever both's or nobody's.
 */
export const poolRecords = (database: DatabaseSync) => {
  const insert = database.prepare(
    `INSERT INTO pool (machine_id, role, key, runtime, slot, machine, boot_id, created_at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const settle = database.prepare('UPDATE pool SET role = ?, machine = ? WHERE machine_id = ?')
  const remove = database.prepare('DELETE FROM pool WHERE machine_id = ?')
  const one = database.prepare('SELECT * FROM pool WHERE machine_id = ?')
  const all = database.prepare('SELECT * FROM pool ORDER BY created_at_ms, machine_id')
  const named = database.prepare(
    `SELECT 1 FROM pool WHERE machine_id = ?1
     UNION ALL SELECT 1 FROM sandboxes WHERE machine_id = ?1 AND state <> 'ended' LIMIT 1`,
  )
  return {
    insert: (record: PoolRecord): void =>
      void insert.run(
        record.machineId,
        record.role,
        record.key,
        record.runtime,
        record.slot,
        record.machine === null ? null : JSON.stringify(record.machine),
        record.bootId,
        record.createdAtMs,
      ),
    /** What became of one that was begun. False when the row has gone. */
    settle: (machineId: string, role: PoolRecord['role'], machine: MachineRecord): boolean =>
      settle.run(role, JSON.stringify(machine), machineId).changes === 1,
    /** True when it was there. */
    remove: (machineId: string): boolean => remove.run(machineId).changes === 1,
    has: (machineId: string): boolean => one.get(machineId) !== undefined,
    all: (): PoolRecord[] => all.all().map(fromRow),
    /** True when the pool or a living sandbox has a machine of that id: its folder is not to be touched. */
    namesMachine: (machineId: string): boolean => named.get(machineId) !== undefined,
  }
}

const fromRow = (row: Record<string, SQLOutputValue>): PoolRecord => ({
  machineId: String(row['machine_id']),
  role: String(row['role']) as PoolRecord['role'],
  key: String(row['key']),
  runtime: String(row['runtime']) as RuntimeName,
  slot: Number(row['slot']),
  machine: typeof row['machine'] === 'string' ? JSON.parse(row['machine']) : null,
  bootId: String(row['boot_id']),
  createdAtMs: Number(row['created_at_ms']),
})
