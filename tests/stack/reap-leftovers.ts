import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const launcher = fileURLToPath(new URL('../../node/launcher/target/release/atoll-launcher', import.meta.url))

/** Ends what a test left behind: only what the records in this data folder identify by pid and start time. */
export const reapLeftovers = async (dataFolder: string): Promise<string[]> => {
  const folder = join(dataFolder, 'sandboxes')
  const names = existsSync(folder) ? await readdir(folder) : []
  for (const name of names)
    await promisify(execFile)(launcher, ['reap', join(folder, name)], { timeout: 20_000 }).catch(
      (error: unknown) => console.warn(`could not reap ${name}:`, error),
    )
  return names
}
