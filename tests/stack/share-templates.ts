import { existsSync } from 'node:fs'
import { copyFile, link, mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Where this host's base image was built: by scripts/setup, or by an `up` on the default folder. */
const sharedFolder = process.env['ATOLL_TEST_DATA'] ?? '/var/lib/atoll'

/**
 * Gives a new data folder the host's images by hard link (or copy), and the archive of `base`: building them
 * takes minutes, and the image is made anew from the archive when the agent is another.
 */
export const shareTemplates = async (dataFolder: string): Promise<void> => {
  if (!existsSync(join(sharedFolder, 'templates')))
    throw new Error(`no template images in ${sharedFolder}: run scripts/setup, or set ATOLL_TEST_DATA`)
  await linkFiles(join(sharedFolder, 'templates'), join(dataFolder, 'templates'), 0o755)
  await linkFiles(join(sharedFolder, 'cache'), join(dataFolder, 'cache'), 0o700)
}

/** The files of a folder, not what is being made in folders below it. */
const linkFiles = async (from: string, to: string, mode: number): Promise<void> => {
  await mkdir(to, { recursive: true, mode })
  for (const name of await readdir(from)) {
    const source = join(from, name)
    if ((await stat(source)).isFile())
      await link(source, join(to, name)).catch(() => copyFile(source, join(to, name)))
  }
}
