/** Named limits of templates and images (invariant 9). Bytes, milliseconds, counts. */
export const imageLimits = {
  /** What an archive may inflate to, headers included. */
  archiveBytes: 34 * 1024 ** 3,
  /** Its files together, and the largest one. */
  contentBytes: 32 * 1024 ** 3,
  fileBytes: 16 * 1024 ** 3,
  entries: 2_000_000,
  unpackCpuSeconds: 1_800,
  /** One archive into a tree, or one tree into an image. */
  unpackMs: 30 * 60_000,
  packMs: 30 * 60_000,
  /** mmdebstrap, with its downloads. */
  bootstrapMs: 20 * 60_000,
  /** An image's record. */
  recordBytes: 256 * 1024,
  /** Manifests, indexes and configs of OCI images. */
  manifestBytes: 4 * 1024 ** 2,
  layerCount: 256,
  /** A layer as it is sent. */
  blobBytes: 16 * 1024 ** 3,
  /** The blob cache; the least recently used ones go first. */
  blobCacheBytes: 20 * 1024 ** 3,
  registryRequestMs: 60_000,
  /** A download without a byte for this long is broken. */
  registryStallMs: 60_000,
  registryAttempts: 3,
  registryRedirects: 5,
  /** A build's uploaded context. */
  contextBytes: 4 * 1024 ** 3,
  /** One step of a build, where it names no limit of its own. */
  stepMs: 10 * 60_000,
  /** Output of one step that is passed on. */
  stepOutputBytes: 16 * 1024 ** 2,
} as const

/** Layout of an image and of its record. In the digest: another number is another image. */
export const imageFormatVersion = 1

/** First host id of the jail: above the 60,000 ranges of 65,536 that sandboxes may have from 200,000 on. */
export const jailIdBase = 4_000_000_000
