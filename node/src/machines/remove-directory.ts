import { lstat, opendir, rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { machineLimits } from './limits.ts'

/**
 * Removes a folder of ours and answers how many entries went: follows no symlink, leaves no file system,
 * and has a limit. What is gone already counts as removed, so that it can be repeated.
 */
export const removeDirectory = async (directory: string): Promise<number> => {
  const top = await entryAt(directory)
  if (top === undefined) return 0
  if (!top.isDirectory()) throw new AtollError('internal', `cannot remove ${directory}: it is no folder`)
  let left: number = machineLimits.directoryEntries
  const remove = async (path: string, device: number): Promise<void> => {
    for await (const entry of await opendir(path)) {
      const child = join(path, entry.name)
      if (--left < 0)
        throw new AtollError(
          'internal',
          `cannot remove ${directory}: it has more than ${machineLimits.directoryEntries} entries`,
        )
      if (!entry.isDirectory()) {
        await gone(unlink(child))
        continue
      }
      const inside = await entryAt(child)
      if (inside !== undefined && inside.dev !== device)
        throw new AtollError('internal', `cannot remove ${directory}: ${child} is still mounted; unmount it`)
      await remove(child, device)
    }
    await gone(rmdir(path))
  }
  await remove(directory, top.dev)
  return machineLimits.directoryEntries - left + 1
}

const entryAt = async (path: string) => {
  try {
    return await lstat(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

const gone = async (removal: Promise<void>): Promise<void> => {
  try {
    await removal
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT'
