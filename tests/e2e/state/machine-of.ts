import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Stack } from '../../stack/start-stack.ts'

/** What the node's own records say of a sandbox; read beside the daemon, as an operator would. */
export interface NodeRecord {
  readonly state: string
  readonly depth: string | null
  readonly machineId: string | null
  readonly saved: string | null
}

/** The node's record of a sandbox; undefined when it has none. */
export const nodeRecord = (stack: Pick<Stack, 'dataFolder'>, id: string): NodeRecord | undefined =>
  rows<NodeRecord>(
    stack,
    'SELECT state, depth, machine_id AS machineId, saved FROM sandboxes WHERE id = ?',
    id,
  )[0]

/** Digests of the images that the node keeps, by who owns them. */
export const savedImages = (
  stack: Pick<Stack, 'dataFolder'>,
): { id: string; owner: string; digest: string }[] =>
  rows(stack, 'SELECT id, owner, digest FROM snapshots ORDER BY id')

/** Every machine that some record of the node names: those of sandboxes, and those of the pool. */
export const machinesInUse = (stack: Pick<Stack, 'dataFolder'>): string[] =>
  rows<{ machineId: string }>(
    stack,
    `SELECT machine_id AS machineId FROM pool
     UNION SELECT machine_id FROM sandboxes WHERE machine_id IS NOT NULL AND state != 'ended'`,
  ).map(({ machineId }) => machineId)

/** Every machine that a sandbox was created on, also of those that have ended, and all that some record names. */
export const machinesEver = (stack: Pick<Stack, 'dataFolder'>): string[] => [
  ...machinesInUse(stack),
  ...rows<{ machineId: string }>(
    stack,
    "SELECT json_extract(data, '$.machine') AS machineId FROM events WHERE type = 'running' AND machineId IS NOT NULL",
  ).map(({ machineId }) => machineId),
]

/** The id of the machine that a sandbox has now. */
export const machineOf = (stack: Pick<Stack, 'dataFolder'>, id: string): string => {
  const machine = nodeRecord(stack, id)?.machineId
  if (machine === undefined || machine === null) throw new Error(`${id} has no machine`)
  return machine
}

const rows = <Row>(stack: Pick<Stack, 'dataFolder'>, sql: string, ...values: string[]): Row[] => {
  const database = new DatabaseSync(join(stack.dataFolder, 'node.db'), { readOnly: true })
  try {
    return database.prepare(sql).all(...values) as Row[]
  } finally {
    database.close()
  }
}
