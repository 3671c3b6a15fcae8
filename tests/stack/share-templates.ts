import { existsSync } from 'node:fs'
import { copyFile, link, mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Where this host's base image was built: by scripts/setup, or by an `up` on the default folder. */
const sharedFolder = process.env['ATOLL_TEST_TEMPLATES'] ?? '/var/lib/atoll/templates'

/** Gives a new data folder the host's images by hard link (or copy): building them takes minutes. */
export const shareTemplates = async (dataFolder: string): Promise<void> => {
  if (!existsSync(sharedFolder))
    throw new Error(`no template images in ${sharedFolder}: run scripts/setup, or set ATOLL_TEST_TEMPLATES`)
  await linkTree(sharedFolder, join(dataFolder, 'templates'))
}

const linkTree = async (from: string, to: string): Promise<void> => {
  await mkdir(to, { recursive: true, mode: 0o700 })
  for (const name of await readdir(from)) {
    const source = join(from, name)
    const info = await stat(source)
    if (info.isDirectory()) await linkTree(source, join(to, name))
    else if (info.isFile()) await link(source, join(to, name)).catch(() => copyFile(source, join(to, name)))
  }
}
