import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { runningDaemon, startTimeOf } from '../lock-folder.ts'
import { type Check, ok, warning } from './check.ts'

/** Folders of machines whose shim is gone while no daemon runs to clear them, and folders without a record. */
export const checkLeftovers =
  (folder: string): Check =>
  async () => {
    const sandboxes = join(resolve(folder), 'sandboxes')
    if (!existsSync(sandboxes)) return ok('leftovers', 'none: no sandbox was ever here')
    const names = readdirSync(sandboxes)
    const dead = names.filter((name) => !shimLives(join(sandboxes, name)))
    const unknown = names.filter((name) => !recorded(folder).has(name))
    if (dead.length === 0 && unknown.length === 0)
      return ok('leftovers', `none; ${names.length} machines of sandboxes and of the pool`)
    if (runningDaemon(resolve(folder)) !== undefined)
      return ok('leftovers', `${dead.length} ended or stopped sandboxes are with the running daemon`)
    const detail = `${dead.length} machines without a process, ${unknown.length} without a record`
    return warning(
      'leftovers',
      `${detail}: the next start removes what is positively ours`,
      `atoll up --data ${folder}`,
    )
  }

const shimLives = (directory: string): boolean => {
  try {
    const record = JSON.parse(readFileSync(join(directory, 'shim.json'), 'utf8')) as Record<string, unknown>
    const { shimPid, shimStartTime } = record
    return typeof shimPid === 'number' && startTimeOf(shimPid) === shimStartTime
  } catch {
    // No record of a shim: it was never started, or is gone.
    return false
  }
}

const recorded = (folder: string): ReadonlySet<string> => {
  const path = join(resolve(folder), 'node.db')
  if (!existsSync(path)) return new Set()
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'])
    // Before version 2 a sandbox's folder had the sandbox's own id.
    const folders =
      version < 2
        ? 'SELECT id FROM sandboxes'
        : 'SELECT machine_id AS id FROM sandboxes UNION SELECT machine_id FROM pool'
    return new Set(
      db
        .prepare(folders)
        .all()
        .map((row) => String(row['id'])),
    )
  } finally {
    db.close()
  }
}
