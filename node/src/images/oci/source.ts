import type { Readable } from 'node:stream'
import type { Descriptor } from './schemas.ts'

/** A manifest or an index as it came. */
export interface Document {
  readonly bytes: Buffer
  readonly mediaType: string
}

/** Where an OCI image comes from: a layout on disk, or a registry. What it gives is checked by the caller. */
export interface OciSource {
  /** For people and records: a path, or a reference without credentials. */
  readonly origin: string
  /** The document that the whole image begins with. */
  top(signal: AbortSignal): Promise<Document>
  /** A manifest or index by its digest. */
  document(descriptor: Descriptor, signal: AbortSignal): Promise<Document>
  /** The bytes of a config or a layer. */
  blob(descriptor: Descriptor, signal: AbortSignal): Promise<Readable>
}
