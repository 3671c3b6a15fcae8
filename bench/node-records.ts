import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

/** Folder of the machine that a sandbox runs on: one of the pool is older than its sandbox and has an id of its own. */
export const machineFolder = (dataFolder: string, sandbox: string): string => {
  const row = read(dataFolder, 'SELECT machine_id AS value FROM sandboxes WHERE id = ?', sandbox)
  if (typeof row !== 'string') throw new Error(`sandbox ${sandbox} has no machine`)
  return join(dataFolder, 'sandboxes', row)
}

/** Waits until the pool holds so many machines that a create can claim. */
export const poolFilled = async (dataFolder: string, count: number, timeoutMs: number): Promise<void> => {
  const until = performance.now() + timeoutMs
  const ready = (): number =>
    Number(read(dataFolder, "SELECT count(*) AS value FROM pool WHERE role = 'ready'"))
  while (ready() < count) {
    if (performance.now() > until)
      throw new Error(`the pool has ${ready()} of ${count} machines after ${timeoutMs} ms`)
    await sleep(pollMs)
  }
}

const pollMs = 100

const read = (dataFolder: string, sql: string, ...values: string[]): unknown => {
  const database = new DatabaseSync(join(dataFolder, 'node.db'), { readOnly: true })
  try {
    return database.prepare(sql).get(...values)?.['value']
  } finally {
    database.close()
  }
}
