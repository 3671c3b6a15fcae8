import { open, rename, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AtollError, type ErrorCode } from '@atoll/protocol'
import { run, runOk } from '../../host/run.ts'
import type { MachineImage, MachineSpec } from '../driver.ts'
import { containerLimits } from './limits.ts'

/** The sandbox's disk: a sparse file that stays when the sandbox is stopped. */
export const diskPath = (directory: string): string => join(directory, 'disk.ext4')

/** Formats the disk where there is none yet; one that a crash of the host left mounted is mended first. */
export const ensureDisk = async (spec: MachineSpec, signal: AbortSignal): Promise<void> => {
  const path = diskPath(spec.directory)
  const wasUnmounted = await isClean(path)
  if (wasUnmounted === true) return
  if (wasUnmounted === false) {
    const said = await unsound(path, signal)
    if (said === undefined) return
    throw new AtollError(
      'snapshot_invalid',
      `cannot start ${spec.id}: its disk ${path} is damaged: ${said}`,
      {
        remedy: `mend it by e2fsck ${path}, or delete the sandbox`,
      },
    )
  }
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

/** The one file of a disk image. */
export const diskImageFile = 'disk.ext4'

/** Copies a disk that nobody writes: sparse, and sharing blocks where the file system can. */
export const copyDisk = async (from: string, to: string, signal: AbortSignal): Promise<void> => {
  const { blocks } = await stat(from)
  const { bavail, bsize } = await statfs(dirname(to))
  if (bavail * bsize < blocks * blockBytes)
    throw new AtollError(
      'host_disk_full',
      `cannot copy ${from} to ${to}: ${bavail * bsize} bytes are left and ${blocks * blockBytes} are needed; free some`,
    )
  try {
    await runOk({
      act: `copy ${from} to ${to}`,
      file: 'cp',
      args: ['--reflink=auto', '--sparse=auto', '--no-target-directory', from, to],
      timeoutMs: containerLimits.copyTimeoutMs,
      signal,
    })
  } catch (error) {
    await rm(to, { force: true })
    signal.throwIfAborted()
    if (error instanceof Error && /no space left|quota exceeded/iu.test(error.message))
      throw new AtollError('host_disk_full', error.message, { cause: error })
    throw error
  }
}

/** Unit of `stat`'s blocks. */
const blockBytes = 512
/** Of ext4: where in the file the mark of a clean unmount is, and its bit. */
const stateOffset = 1_024 + 0x3a
const cleanBit = 1

/** False where it was mounted when the host went down; undefined where there is none. */
const isClean = async (path: string): Promise<boolean | undefined> => {
  await using file = await open(path, 'r').catch(() => undefined)
  if (file === undefined) return undefined
  const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, stateOffset)
  return bytesRead === 2 && (buffer.readUInt16LE() & cleanBit) !== 0
}

/** e2fsck: nothing was wrong, or all of it was mended. */
const soundCodes = [0, 1]

/** Mends counters and the mark of the mount, and looks again; what is worse is told. */
const unsound = async (path: string, signal: AbortSignal): Promise<string | undefined> => {
  for (const mode of ['-fp', '-fn']) {
    const { exitCode, stdout, stderr } = await run({
      act: `check ${path}`,
      file: 'e2fsck',
      args: [mode, path],
      timeoutMs: containerLimits.copyTimeoutMs,
      signal,
    })
    if (mode === '-fp' ? soundCodes.includes(exitCode) : exitCode === 0) continue
    return `e2fsck ${mode} said: ${`${stdout} ${stderr}`.trim().slice(-500)}`
  }
  return undefined
}

/** Makes a copy of a mounted disk clean and proves it; a copy that is not sound is removed. */
export const checkDisk = async (path: string, code: ErrorCode, signal: AbortSignal): Promise<void> => {
  const said = await unsound(path, signal)
  if (said === undefined) return
  await rm(path, { force: true })
  throw new AtollError(code, `the copy ${path} of a disk is not sound: ${said}`)
}

/** Makes the disk of a machine that has ended survive a power cut. */
export const keepDisk = async (directory: string): Promise<void> => {
  for (const path of [diskPath(directory), directory]) {
    await using file = await open(path, 'r')
    await file.sync()
  }
}

/** Puts a copy of the image where the disk will be looked for. */
export const layDisk = async (spec: MachineSpec, image: MachineImage, signal: AbortSignal): Promise<void> => {
  const unfit = (why: string): AtollError =>
    new AtollError('snapshot_unfit', `cannot boot ${spec.id} on a disk image: ${why}; nothing was tried`)
  if (image.kind !== 'disk' || image.runtime !== 'container')
    throw unfit(`it is a ${image.kind} image of ${image.runtime}`)
  if (image.diskBytes !== spec.limits.diskBytes)
    throw unfit(`it has ${image.diskBytes} bytes and the sandbox's disk ${spec.limits.diskBytes}`)
  const file = image.files.find(({ name }) => name === diskImageFile)
  const size =
    file === undefined
      ? -1
      : await stat(file.path)
          .then(({ size }) => size)
          .catch(() => -1)
  if (file === undefined || size !== file.bytes || size !== image.diskBytes)
    throw new AtollError(
      'snapshot_invalid',
      `cannot boot ${spec.id}: the disk image has ${size} bytes where ${image.diskBytes} are due; nothing was tried`,
    )
  const beside = `${diskPath(spec.directory)}.new`
  await rm(beside, { force: true })
  await copyDisk(file.path, beside, signal)
  await checkDisk(beside, 'snapshot_invalid', signal)
  await rename(beside, diskPath(spec.directory))
}
