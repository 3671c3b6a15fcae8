import { imageConfigSchema } from '@atoll/protocol'
import type { ImageRecord } from './image-record.ts'
import type { ImageStore } from './image-store.ts'
import { makeImage } from './make-image.ts'
import type { OnImageProgress } from './progress.ts'

/** An image of a root filesystem's tar (plain, gzip or zstd). `origin` is for people: a file's name. */
export const importTar = (
  store: ImageStore,
  archivePath: string,
  origin: string,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> => {
  const layers = [{ path: archivePath, flavour: 'root' as const }]
  return makeImage(store, { layers, config: imageConfigSchema.parse({}), origin }, onProgress, signal)
}
