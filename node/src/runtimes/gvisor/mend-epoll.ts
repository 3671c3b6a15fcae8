import { open } from 'node:fs/promises'
import { kinds, skipValue, type WireReader, wireReader } from './wire.ts'

/**
 * gVisor 20240729 saves, by the links of an old list, what was removed from an epoll instance (epoll.go leaves them
 * in place), and after a restore marks all that was saved as ready (`epollInterest.afterLoad`). The program then
 * gets an event for a descriptor that it gave up, with a pointer to memory that it has freed: programs on tokio, our
 * agent too, hang or worse. Without a mask none of it comes: the mask of each that no instance holds is set to 0.
 * Answers how many there were. In place: the file keeps its size.
 */
export const mendEpoll = async (path: string): Promise<number> => {
  await using file = await open(path, 'r+')
  const bytes = await file.readFile()
  const { stream, offsets } = unframe(bytes)
  const { interests, held } = findInterests(stream)
  let mended = 0
  for (const [id, mask] of interests) {
    if (held.has(id)) continue
    const start = offsets[mask.start] ?? 0
    const end = (offsets[mask.end - 1] ?? start) + 1
    const zero = Buffer.from(bytes.subarray(start, end))
    for (let at = mask.start; at < mask.end; at++)
      // What says that a next byte belongs to the number stays, its value goes.
      zero[(offsets[at] ?? 0) - start] = (stream[at] ?? 0) & 0x80
    await file.write(zero, 0, zero.length, start)
    mended++
  }
  return mended
}

const magic = Buffer.from('gVisorSF')
const hashBytes = 32

/** The stream of objects, and where each byte of it is in the file: after the metadata come length and bytes. */
const unframe = (file: Buffer): { stream: Uint8Array; offsets: Uint32Array } => {
  if (!file.subarray(0, magic.length).equals(magic)) throw new Error('it is no image of gVisor')
  let at = magic.length + 8 + Number(file.readBigUInt64BE(magic.length)) + hashBytes
  const stream = new Uint8Array(file.length)
  const offsets = new Uint32Array(file.length)
  let length = 0
  while (at < file.length) {
    const size = file.readUInt32BE(at)
    at += 4
    if (at + size > file.length) throw new Error('it ends too early')
    for (let end = at + size; at < end; at++, length++) {
      stream[length] = file[at] ?? 0
      offsets[length] = at
    }
  }
  return { stream: stream.subarray(0, length), offsets }
}

interface Found {
  /** Where the number of each one's mask lies, by the id of its object. */
  readonly interests: Map<number, { readonly start: number; readonly end: number }>
  /** Ids that an epoll instance has in its map. */
  readonly held: Set<number>
}

const interestType = 'pkg/sentry/vfs.epollInterest'
const keyType = 'pkg/sentry/vfs.epollInterestKey'
const maskField = 'mask'

const findInterests = (stream: Uint8Array): Found => {
  const found: Found = { interests: new Map(), held: new Set() }
  const reader = wireReader(stream)
  while (!reader.atEnd()) {
    const { length, isObjects } = reader.header()
    if (!isObjects) throw new Error('raw bytes are where objects should be')
    // Ids of objects and types begin anew: only the last stream, the kernel's, has interests.
    found.interests.clear()
    found.held.clear()
    readStream(stream, reader, length, found)
  }
  return found
}

interface Type {
  readonly name: string
  readonly fields: readonly string[]
}

const readStream = (stream: Uint8Array, reader: WireReader, count: number, found: Found): void => {
  const types: Type[] = []
  for (let left = count; left > 0; ) {
    const kind = reader.number()
    if (kind === kinds.type) {
      types.push(readType(stream, reader))
      continue
    }
    if (kind !== kinds.uint) throw new Error(`an object has no number but kind ${kind}`)
    const id = reader.number()
    const valueKind = reader.number()
    if (valueKind === kinds.struct) readStruct(reader, types, id, found)
    else if (valueKind === kinds.map) readMap(reader, types, found)
    else skipValue(reader, valueKind)
    left--
  }
}

const readType = (stream: Uint8Array, reader: WireReader): Type => {
  const text = (): string => {
    const length = reader.number()
    const start = reader.position()
    reader.skip(length)
    return Buffer.from(stream.buffer, stream.byteOffset + start, length).toString('latin1')
  }
  const name = text()
  return { name, fields: Array.from({ length: reader.number() }, text) }
}

const readStruct = (reader: WireReader, types: readonly Type[], id: number, found: Found): void => {
  // Types count from 1.
  const type = types[reader.number() - 1]
  const kind = reader.number()
  if (type?.name !== interestType) return skipValue(reader, kind)
  if (kind !== kinds.multipleObjects || reader.number() !== type.fields.length)
    throw new Error(`an ${interestType} has other fields`)
  for (const field of type.fields) {
    const fieldKind = reader.number()
    const start = reader.position()
    skipValue(reader, fieldKind)
    if (field === maskField && fieldKind === kinds.uint)
      found.interests.set(id, { start, end: reader.position() })
  }
}

/** A map from keys of epoll to references is one that an instance holds. */
const readMap = (reader: WireReader, types: readonly Type[], found: Found): void => {
  const rows = reader.number()
  if (rows === 0) return
  const keyKind = reader.number()
  const isInterests = keyKind === kinds.struct && skipKey(reader, types)
  if (keyKind !== kinds.struct) skipValue(reader, keyKind)
  const valueKind = reader.number()
  for (let row = 0; row < rows; row++) {
    if (row > 0) skipValue(reader, keyKind)
    if (isInterests && valueKind === kinds.ref) found.held.add(skipReference(reader))
    else skipValue(reader, valueKind)
  }
}

/** Passes over the first key; true when it is one of epoll. */
const skipKey = (reader: WireReader, types: readonly Type[]): boolean => {
  const type = types[reader.number() - 1]
  skipValue(reader, reader.number())
  return type?.name === keyType
}

/** The id that a reference leads to. */
const skipReference = (reader: WireReader): number => {
  const id = reader.number()
  if (reader.number() !== 0) throw new Error('a reference leads into an object')
  return id
}
