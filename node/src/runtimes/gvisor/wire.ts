/** gVisor's encoding of objects (pkg/state/wire of 20240729). Numbers are varints. */

/** Deeper nesting is nothing that it writes. */
const mostDepth = 64
const objectsFlag = 1n << 63n

export type WireReader = ReturnType<typeof wireReader>

/** Reads encoded bytes from their start; beyond their end it throws. */
export const wireReader = (bytes: Uint8Array) => {
  let at = 0
  const byte = (): number => {
    const value = bytes[at]
    if (value === undefined) throw new Error('it ends too early')
    at++
    return value
  }
  /** Beyond 2^53 it is only approximate: such numbers are no lengths. */
  const number = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const next = byte()
      value += (next & 0x7f) * scale
      if (next < 0x80) return value
      if (scale > 2 ** 63) throw new Error('a number is too long')
    }
  }
  const header = (): { length: number; isObjects: boolean } => {
    let value = 0n
    for (let shift = 0n; shift <= 63n; shift += 7n) {
      const next = byte()
      value |= BigInt(next & 0x7f) << shift
      if (next < 0x80)
        return { length: Number(value & (objectsFlag - 1n)), isObjects: (value & objectsFlag) !== 0n }
    }
    throw new Error('a header is too long')
  }
  const skip = (count: number): void => {
    at += count
    if (at > bytes.length) throw new Error('it ends too early')
  }
  return {
    position: () => at,
    atEnd: () => at >= bytes.length,
    header,
    number,
    skip,
  }
}

/** `count` objects, each after its number; types come between them. */
export const skipStream = (reader: WireReader, count: number): void => {
  for (let left = count; left > 0; ) {
    const kind = reader.number()
    skipValue(reader, kind)
    if (kind === kinds.type) continue
    if (kind !== kinds.uint) throw new Error(`an object has no number but kind ${kind}`)
    skipValue(reader, reader.number())
    left--
  }
}

/** What a value is; the numbers of wire.go. */
export const kinds = {
  bool: 0,
  int: 1,
  uint: 2,
  float32: 3,
  float64: 4,
  nil: 5,
  ref: 6,
  string: 7,
  slice: 8,
  array: 9,
  map: 10,
  struct: 11,
  noObjects: 12,
  multipleObjects: 13,
  interface: 14,
  complex64: 15,
  complex128: 16,
  type: 17,
} as const

/** Passes over a value whose kind has been read. */
export const skipValue = (reader: WireReader, kind: number, depth = 0): void => {
  if (depth > mostDepth) throw new Error('it is nested too deeply')
  const value = (): void => skipValue(reader, reader.number(), depth + 1)
  switch (kind) {
    case kinds.nil:
    case kinds.noObjects:
      return
    case kinds.bool:
    case kinds.int:
    case kinds.uint:
    case kinds.float32:
    case kinds.float64:
      return void reader.number()
    case kinds.complex64:
    case kinds.complex128:
      reader.number()
      return void reader.number()
    case kinds.string:
      return reader.skip(reader.number())
    case kinds.ref:
      return skipReference(reader)
    case kinds.slice:
      reader.number()
      reader.number()
      return skipReference(reader)
    case kinds.array:
      return skipAlike(reader, 1, depth)
    case kinds.map:
      return skipAlike(reader, 2, depth)
    case kinds.struct:
      reader.number()
      return value()
    case kinds.multipleObjects:
      for (let left = reader.number(); left > 0; left--) value()
      return
    case kinds.interface:
      skipTypeSpec(reader, 0)
      return value()
    case kinds.type:
      reader.skip(reader.number())
      for (let left = reader.number(); left > 0; left--) reader.skip(reader.number())
      return
    default:
      throw new Error(`kind ${kind} is not known`)
  }
}

/** Rows of `width` values; only the first row says of which kind they are. */
const skipAlike = (reader: WireReader, width: number, depth: number): void => {
  const rows = reader.number()
  if (rows === 0) return
  const rowKinds: number[] = []
  for (let column = 0; column < width; column++) {
    const kind = reader.number()
    rowKinds.push(kind)
    skipValue(reader, kind, depth + 1)
  }
  for (let row = 1; row < rows; row++) for (const kind of rowKinds) skipValue(reader, kind, depth + 1)
}

const skipReference = (reader: WireReader): void => {
  reader.number()
  const dots = reader.number()
  for (let left = dots; left > 0; left--) {
    const dot = reader.number()
    // Zigzag: a negative one is the length of a field's name.
    if (dot % 2 === 1) reader.skip((dot + 1) / 2)
  }
  if (dots > 0) skipTypeSpec(reader, 0)
}

const specKinds = { id: 0, pointer: 1, array: 2, slice: 3, map: 4, nil: 5 } as const

const skipTypeSpec = (reader: WireReader, depth: number): void => {
  if (depth > mostDepth) throw new Error('it is nested too deeply')
  const kind = reader.number()
  switch (kind) {
    case specKinds.nil:
      return
    case specKinds.id:
      return void reader.number()
    case specKinds.array:
      reader.number()
      return skipTypeSpec(reader, depth + 1)
    case specKinds.pointer:
    case specKinds.slice:
      return skipTypeSpec(reader, depth + 1)
    case specKinds.map:
      skipTypeSpec(reader, depth + 1)
      return skipTypeSpec(reader, depth + 1)
    default:
      throw new Error(`type ${kind} is not known`)
  }
}
