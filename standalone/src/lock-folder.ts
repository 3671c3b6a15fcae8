import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { AtollError } from '@atoll/protocol'

/** Who holds a data folder. For people and `doctor`: what locks is the kernel. */
export interface DaemonRecord {
  readonly pid: number
  /** Field 22 of /proc/pid/stat: a pid alone identifies nothing. */
  readonly startTime: number
  readonly url: string
}

const recordName = 'daemon.json'

/**
 * Takes a data folder for this process alone. The lock is SQLite's exclusive one, so the kernel's: it goes when the
 * process goes, however that ends, and nothing stale can be left. Node itself offers no flock.
 */
export const lockFolder = (folder: string): { announce(url: string): void } & Disposable => {
  const lock = new DatabaseSync(join(folder, 'daemon.lock'), { timeout: 0 })
  try {
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    throw lockedError(folder, error)
  }
  const record = join(folder, recordName)
  return {
    announce: (url) => {
      const daemon: DaemonRecord = { pid: process.pid, startTime: startTimeOf(process.pid) ?? 0, url }
      writeFileSync(record, `${JSON.stringify(daemon)}\n`, { mode: 0o600 })
    },
    [Symbol.dispose]: () => {
      rmSync(record, { force: true })
      lock.close()
    },
  }
}

/** The daemon that runs on a folder; undefined when none does. */
export const runningDaemon = (folder: string): DaemonRecord | undefined => {
  try {
    const daemon = JSON.parse(readFileSync(join(folder, recordName), 'utf8')) as DaemonRecord
    return startTimeOf(daemon.pid) === daemon.startTime ? daemon : undefined
  } catch {
    // No record, or one that was cut short by a crash: nobody is known to run there.
    return undefined
  }
}

/** Start time of a process in clock ticks since boot; undefined when there is none. */
export const startTimeOf = (pid: number): number | undefined => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name is in parentheses and may hold anything, so count from its end: field 22 is the 20th after it.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  } catch {
    return undefined
  }
}

const lockedError = (folder: string, error: unknown): AtollError => {
  const { errcode } = error as { errcode?: unknown }
  const busy = errcode === 5
  if (!busy)
    return new AtollError('internal', `cannot lock the data folder ${folder}: ${String(error)}`, {
      cause: error,
    })
  const holder = runningDaemon(folder)
  const who = holder === undefined ? 'another daemon' : `the daemon with pid ${holder.pid} at ${holder.url}`
  return new AtollError(
    'in_use',
    `cannot start on ${folder}: ${who} runs on it; end that one, or give another --data`,
  )
}
