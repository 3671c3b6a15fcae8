/** Named limits of saved states (invariant 9). */
export const snapshotLimits = {
  /** A manifest, bytes. */
  manifestBytes: 64 * 1024,
  /** Files of one snapshot. */
  files: 16,
  /** Name of a file, characters. */
  fileNameLength: 64,
  /** Flags of a CPU that a manifest may list. */
  cpuFlags: 256,
  /** Read at a time while hashing, bytes. */
  hashChunkBytes: 1024 ** 2,
  /** Files whose hash is remembered. */
  remembered: 4_096,
} as const
