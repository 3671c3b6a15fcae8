import { skipStream, wireReader } from './wire.ts'

/**
 * gVisor's list of pages (pkg/sentry/pgalloc/save_restore.go of 20240729): streams of encoded objects, and a raw
 * header with the length of each range whose bytes are in pages.img.
 */

/** Streams of objects for each memory file, and the one that lists those besides the first. */
const streamsPerFile = 9
const streamsBetween = 1
/** gVisor's own memory, and the disk. */
const memoryFiles = 2
const allStreams = memoryFiles * streamsPerFile + streamsBetween

/** Bytes that pages.img must have. Throws where the list does not end as it should. */
export const pagesBytes = (list: Uint8Array): number => {
  const reader = wireReader(list)
  let total = 0
  let streams = 0
  while (!reader.atEnd()) {
    const { length, isObjects } = reader.header()
    if (!isObjects) total += length
    else {
      skipStream(reader, length)
      streams++
    }
  }
  if (streams !== allStreams) throw new Error(`it has ${streams} parts and not ${allStreams}`)
  return total
}
