import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'

const repository = resolve(import.meta.dirname, '../../..')
/** Where `scripts/setup` has built the base image of this host. */
const dataFolder = process.env['ATOLL_TEST_DATA'] ?? '/var/lib/atoll'
const recordSchema = z.object({
  origin: z.string(),
  createdAtMs: z.number(),
  rootfs: z.object({ digest: z.string() }),
})

/** The programs and the image that tests on real runtimes need. For tests only. */
export const testHost = () => {
  const launcherPath = join(repository, 'node/launcher/target/release/atoll-launcher')
  const agentPath = join(repository, 'guest/target/release/atoll-agent')
  const imagePath = newestBase()
  const missing = [launcherPath, agentPath].find((path) => !existsSync(path))
  const skip =
    process.getuid?.() !== 0
      ? 'needs root'
      : missing !== undefined
        ? `${missing} is not built: run npm run build:native`
        : imagePath === undefined
          ? `no base image in ${dataFolder}: run scripts/setup, or set ATOLL_TEST_DATA`
          : undefined
  return { launcherPath, agentPath, imagePath: imagePath ?? '', skip }
}

const newestBase = (): string | undefined => {
  const folder = join(dataFolder, 'templates')
  if (!existsSync(folder)) return undefined
  const records = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => recordSchema.parse(JSON.parse(readFileSync(join(folder, name), 'utf8'))))
    .filter(({ origin }) => origin === 'base')
  const newest = records.toSorted((left, right) => right.createdAtMs - left.createdAtMs)[0]
  return newest === undefined ? undefined : join(folder, `${newest.rootfs.digest}.erofs`)
}
