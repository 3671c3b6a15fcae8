import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes a finished file the one at the path: fsync, rename, fsync of the folder. */
export const commitFile = async (from: string, to: string, mode: number): Promise<void> => {
  await using file = await open(from, 'r')
  await file.chmod(mode)
  await file.sync()
  await rename(from, to)
  await syncDirectory(dirname(to))
}

/** Writes a small file so that it is there whole or not at all. */
export const writeDurably = async (
  path: string,
  temporary: string,
  text: string,
  mode: number,
): Promise<void> => {
  await using file = await open(temporary, 'wx', mode)
  await file.writeFile(text)
  await file.sync()
  await commitFile(temporary, path, mode)
}

export const syncDirectory = async (path: string): Promise<void> => {
  await using directory = await open(path, 'r')
  await directory.sync()
}
