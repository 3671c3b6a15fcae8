import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import { runOk } from '../../host/run.ts'
import { askShim, statusSchema } from '../../host/shim.ts'
import type { MachineImage, MachineLimits, MachineRecord } from '../driver.ts'
import { checkDisk, copyDisk, diskImageFile, diskPath } from './disk.ts'
import { containerLimits } from './limits.ts'
import { noMemory } from './restore.ts'

/** Copies the disk of a container that stands still; it goes on as it was. */
export const checkpoint = async (
  record: MachineRecord,
  limits: MachineLimits,
  target: string,
  kind: MachineImage['kind'],
  signal: AbortSignal,
): Promise<MachineImage> => {
  if (kind === 'memory') throw noMemory(`save the memory of ${record.id}`)
  await mkdir(target, { recursive: true, mode: 0o700 })
  if ((await readdir(target)).length > 0)
    throw new AtollError('conflict', `cannot save ${record.id} to ${target}: the folder is not empty`)
  const path = join(target, diskImageFile)
  await standingStill(record, signal, async () => {
    // Through the root of its first process: the overlay hands it on to the disk, whose mount is in a namespace.
    await runOk({
      act: `write out the disk of ${record.id}`,
      file: 'sync',
      args: ['--file-system', `/proc/${record.runtimePid}/root`],
      timeoutMs: containerLimits.copyTimeoutMs,
      signal,
    })
    await copyDisk(diskPath(record.directory), path, signal)
  })
  await checkDisk(path, 'internal', signal)
  return {
    kind,
    runtime: 'container',
    version: record.version,
    diskBytes: limits.diskBytes,
    files: [{ name: diskImageFile, path, bytes: (await stat(path)).size }],
  }
}

/** Nothing inside runs meanwhile, the agent neither: what is copied is of one instant. */
const standingStill = async (
  { id, directory }: MachineRecord,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> => {
  const { state } = await askShim(directory, { do: 'status' }, statusSchema, signal)
  if (state === 'ended') throw new AtollError('state_conflict', `cannot save ${id}: it has ended`)
  if (state === 'frozen') return await work()
  await askShim(directory, { do: 'freeze' }, z.object({}), signal)
  try {
    await work()
  } finally {
    await askShim(directory, { do: 'thaw' }, z.object({}), AbortSignal.timeout(containerLimits.thawTimeoutMs))
  }
}
