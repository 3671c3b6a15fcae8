import { mkdir, readdir, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import { askShim, statusSchema, usageSchema } from '../../host/shim.ts'
import type { MachineImage, MachineLimits, MachineRecord } from '../driver.ts'
import { checkImageFiles, imageFiles } from './image-files.ts'
import { gvisorLimits } from './limits.ts'
import { mendEpoll } from './mend-epoll.ts'
import type { GvisorHost } from './options.ts'
import { controlPathLacks } from './restore.ts'
import { stateFiles } from './spec.ts'

interface Saved {
  readonly host: GvisorHost
  readonly record: MachineRecord
  readonly limits: MachineLimits
}

/** Writes kernel, memory and disk into three files; the sandbox runs on, also when that fails. */
export const checkpoint = async (
  saved: Saved,
  target: string,
  kind: MachineImage['kind'],
  signal: AbortSignal,
): Promise<MachineImage> => {
  const { host, record, limits } = saved
  if (host.controlPath !== 'socket') throw controlPathLacks('save')
  if (kind === 'disk')
    throw new AtollError(
      'unsupported',
      `cannot save the disk of ${record.id} alone: gvisor keeps it in memory; ask the guest for its layer`,
    )
  await mkdir(target, { recursive: true, mode: 0o700 })
  if ((await readdir(target)).length > 0)
    throw new AtollError('conflict', `cannot save ${record.id} to ${target}: the folder is not empty`)
  await Promise.all([refuseFrozen(record, signal), refuseFullDisk(saved, target, signal)])
  const files = imageFiles.map((name) => ({ name, path: join(target, name) }))
  try {
    await save(record, files, target, signal)
    await checkImageFiles(files, 'internal')
    await mendEpoll(join(target, imageFiles[0]))
    const written = files.map(async (file) => ({ ...file, bytes: (await stat(file.path)).size }))
    return {
      kind,
      runtime: 'gvisor',
      version: record.version,
      diskBytes: limits.diskBytes,
      files: await Promise.all(written),
    }
  } catch (error) {
    for (const { path } of files) await rm(path, { force: true })
    throw error
  }
}

/** A frozen gVisor answers nothing, and the call would last until its limit. */
const refuseFrozen = async (record: MachineRecord, signal: AbortSignal): Promise<void> => {
  const { state } = await askShim(record.directory, { do: 'status' }, statusSchema, signal)
  if (state !== 'running')
    throw new AtollError('state_conflict', `cannot save ${record.id}: it is ${state}; thaw it first`)
}

/** What is certain to be too little is refused before anything is written. */
const refuseFullDisk = async (
  { host, record }: Saved,
  target: string,
  signal: AbortSignal,
): Promise<void> => {
  const { memoryBytes } = await askShim(record.directory, { do: 'usage' }, usageSchema, signal)
  const disk = await stat(stateFiles(host, record).at(-1) ?? '').catch(() => undefined)
  const needed = Math.max(memoryBytes, (disk?.blocks ?? 0) * 512) + gvisorLimits.diskReserveBytes
  const { bavail, bsize } = await statfs(target)
  if (bavail * bsize >= needed) return
  throw new AtollError(
    'host_disk_full',
    `cannot save ${record.id}: ${target} has ${bavail * bsize} bytes left and ${needed} may be needed; free some`,
  )
}

const save = async (
  record: MachineRecord,
  files: readonly { readonly path: string }[],
  target: string,
  signal: AbortSignal,
): Promise<void> => {
  const call = {
    do: 'call',
    method: 'containerManager.Checkpoint',
    arg: {
      key: null,
      // The default is flate: 482 ms instead of 118 for 200 MB.
      metadata: { compression: 'none' },
      MemoryFileSaveOpts: { ExcludeCommittedZeroPages: false },
      have_pages_file: true,
      // Without it a checkpoint that fails ends the sandbox.
      Resume: true,
    },
    files: files.map(({ path }) => ({ path, mode: 'write' })),
    timeoutMs: gvisorLimits.callTimeoutMs,
  }
  try {
    await askShim(record.directory, call, z.object({}), signal)
  } catch (error) {
    signal.throwIfAborted()
    throw await saveFault(record.id, target, error)
  }
}

/** Of runsc's several words for a full disk one is a dump of its stack: the disk itself is asked, too. */
export const saveFault = async (id: string, target: string, error: unknown): Promise<AtollError> => {
  const [said = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  const { bavail, bsize } = await statfs(target)
  const isFull = bavail * bsize < gvisorLimits.fullDiskBytes
  if (isFull || /no space left on device|disk quota exceeded/iu.test(said))
    return new AtollError('host_disk_full', `cannot save ${id}: ${target} is full: ${said}`, { cause: error })
  const code = error instanceof AtollError ? error.code : 'internal'
  return new AtollError(code, `cannot save ${id}: ${said}`, { cause: error })
}
