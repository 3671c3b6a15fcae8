import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import { aptSources, publicSourcesOnly } from './apt-sources.ts'
import { baseConfig, baseCustomization, basePackages, basePathFilters, baseSuite } from './base-recipe.ts'
import { bootstrap } from './bootstrap.ts'
import { canonicalJson, hashText } from './hash-file.ts'
import type { ImageRecord } from './image-record.ts'
import { type ImageStore, makeStaging, readIfThere } from './image-store.ts'
import { makeImage } from './make-image.ts'
import type { OnImageProgress } from './progress.ts'
import { commitFile, writeDurably } from './write-durably.ts'

const cachedBaseSchema = z.object({
  recipe: z.string(),
  diffId: z.string(),
  sizeBytes: z.number(),
})

/**
 * The image of `base`: at once when it is there, in seconds when only the agent is another, else built from
 * Debian's packages. Its archive stays in `cache/`, and is unpacked in the jail like anyone's.
 */
export const ensureBase = async (
  store: ImageStore,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  const archivePath = join(store.cacheDirectory, 'base.tar.zst')
  const diffId =
    (await cachedBase(store, archivePath)) ?? (await buildArchive(store, archivePath, onProgress, signal))
  const layers = [{ path: archivePath, diffId, flavour: 'root' as const }]
  return makeImage(store, { layers, config: baseConfig, origin: 'base' }, onProgress, signal)
}

/** The recipe and nothing of the host: another mirror gives the same base. */
const recipeDigest = (): string =>
  hashText(canonicalJson([baseSuite, basePackages, basePathFilters, baseCustomization]))

const recordPath = (store: ImageStore): string => join(store.cacheDirectory, 'base.json')

const cachedBase = async (store: ImageStore, archivePath: string): Promise<string | undefined> => {
  const text = await readIfThere(recordPath(store))
  const parsed = text === undefined ? undefined : cachedBaseSchema.safeParse(JSON.parse(text))
  if (parsed?.success !== true || parsed.data.recipe !== recipeDigest()) return undefined
  const sizeBytes = await stat(archivePath).then(
    (found) => found.size,
    () => -1,
  )
  // The bytes are checked by the diff id when they are unpacked.
  return sizeBytes === parsed.data.sizeBytes ? parsed.data.diffId : undefined
}

const buildArchive = async (
  store: ImageStore,
  archivePath: string,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<string> => {
  await using staging = await makeStaging(store)
  const sources = await aptSources(baseSuite, signal)
  const temporary = join(staging.path, 'base.tar.zst')
  const made = await bootstrap(
    {
      suite: baseSuite,
      packages: basePackages,
      pathFilters: basePathFilters,
      customization: baseCustomization + (publicSourcesOnly(sources) ? '' : dropSources),
      sources,
      output: temporary,
      workDirectory: staging.path,
    },
    onProgress,
    signal,
  )
  if (made.archiveBytes === 0) throw new AtollError('internal', 'cannot build base: mmdebstrap wrote nothing')
  await commitFile(temporary, archivePath, 0o400)
  const record = { recipe: recipeDigest(), diffId: made.diffId, sizeBytes: made.sizeBytes }
  await writeDurably(recordPath(store), join(staging.path, 'base.json'), canonicalJson(record), 0o400)
  return made.diffId
}

/** A mirror of the host's own network is nobody's business inside a sandbox, and may carry a password. */
const dropSources = `: > "$1/etc/apt/sources.list"
rm -f "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/auth.conf.d/*
`
