import { lstat, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RuntimeName } from '../runtimes/driver.ts'
import { reap } from './launcher.ts'

/** Folder of a probe: names the runtime and the process that probes. */
export const probePrefix = (runtime: RuntimeName): string =>
  join(tmpdir(), `atoll-probe-${runtime}-${process.pid}-`)

/** Ends and removes what probes left whose daemon was killed in the middle. */
export const sweepProbes = async (
  runtime: RuntimeName,
  launcherPath: string,
  signal: AbortSignal,
): Promise<void> => {
  const pattern = new RegExp(`^atoll-probe-${runtime}-(\\d+)-`)
  for (const name of await readdir(tmpdir())) {
    const pid = Number(pattern.exec(name)?.[1] ?? Number.NaN)
    const folder = join(tmpdir(), name)
    if (Number.isNaN(pid) || isAlive(pid) || !(await isOurs(folder))) continue
    for (const inner of await readdir(folder))
      if (inner.startsWith('sbx_')) await reap(launcherPath, join(folder, inner), signal)
    await rm(folder, { recursive: true, force: true })
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** The folder for temporary files is everybody's: a record that another user planted names no victim. */
const isOurs = async (folder: string): Promise<boolean> => {
  const found = await lstat(folder)
  return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0
}
