import { open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { runOk } from '../../host/run.ts'
import type { MachineSpec } from '../driver.ts'
import { containerLimits } from './limits.ts'

/** The sandbox's disk: a sparse file that stays when the sandbox is stopped. */
export const diskPath = (directory: string): string => join(directory, 'disk.ext4')

/** Formats the disk where there is none yet. */
export const ensureDisk = async (spec: MachineSpec, signal: AbortSignal): Promise<void> => {
  const path = diskPath(spec.directory)
  const existing = await open(path, 'r').catch(() => undefined)
  if (existing !== undefined) return await existing.close()
  const beside = `${path}.new`
  await rm(beside, { force: true })
  await using file = await open(beside, 'wx', 0o600)
  await file.truncate(spec.limits.diskBytes)
  await runOk({
    act: `format the disk of ${spec.id}`,
    file: 'mke2fs',
    // No journal: what it would save from is a crash of the host, and then the sandbox is over.
    args: [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-m',
      '0',
      '-O',
      '^has_journal',
      '-E',
      'lazy_itable_init=1,nodiscard',
      beside,
    ],
    timeoutMs: containerLimits.formatTimeoutMs,
    signal,
  })
  // A half-formatted file must never be taken for a disk.
  await rename(beside, path)
}
