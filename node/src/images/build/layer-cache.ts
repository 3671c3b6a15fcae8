import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { type HeldBlob, blobPath, holdBlob, keepStream } from '../blobs.ts'
import { canonicalJson } from '../hash-file.ts'
import { type ImageStore, makeStaging, readIfThere } from '../image-store.ts'
import { writeDurably } from '../write-durably.ts'

const entrySchema = z.object({
  diffId: z.string().regex(/^sha256:[a-f0-9]{64}$/),
  blob: z.string().regex(/^[a-f0-9]{64}$/),
  sizeBytes: z.number(),
})

/** The root as it was after a step. */
export interface CachedLayer {
  readonly diffId: string
  readonly blob: HeldBlob
}

/** The layer of a key; undefined when no build made it, or when the blob cache let it go. */
export const findLayer = async (
  store: ImageStore,
  key: string,
  signal: AbortSignal,
): Promise<CachedLayer | undefined> => {
  const text = await readIfThere(entryPath(store, key))
  const parsed = text === undefined ? undefined : entrySchema.safeParse(JSON.parse(text))
  if (parsed?.success !== true) return undefined
  const { diffId, blob: sha256, sizeBytes } = parsed.data
  const found = await stat(blobPath(store, sha256)).catch(() => undefined)
  if (found?.size !== sizeBytes) return undefined
  const gone = () => Promise.reject(new Error(`layer ${sha256} left the cache`))
  return { diffId, blob: await holdBlob(store, { sha256, sizeBytes }, gone, () => {}, signal) }
}

/** Keeps the root that a sandbox exports under the key. */
export const keepLayer = async (
  store: ImageStore,
  key: string,
  root: Readable,
  signal: AbortSignal,
): Promise<CachedLayer> => {
  const kept = await keepStream(store, root, signal)
  const entry = { diffId: kept.diffId, blob: kept.sha256, sizeBytes: kept.blob.sizeBytes }
  await using staging = await makeStaging(store)
  await writeDurably(entryPath(store, key), join(staging.path, 'entry'), canonicalJson(entry), 0o400)
  return { diffId: kept.diffId, blob: kept.blob }
}

const entryPath = (store: ImageStore, key: string): string =>
  join(store.cacheDirectory, 'layers', `${key}.json`)
