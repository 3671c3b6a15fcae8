import { Readable } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import type { ImageRecord } from '../image-record.ts'
import type { ImageStore } from '../image-store.ts'
import { imageLimits } from '../limits.ts'
import { importOci } from '../oci/import-oci.ts'
import { mediaTypes } from '../oci/schemas.ts'
import type { Document, OciSource } from '../oci/source.ts'
import type { OnImageProgress } from '../progress.ts'
import { type ImageReference, parseReference } from './reference.ts'
import { type RegistryOptions, type RegistryRequest, openRegistry } from './request.ts'

/** An image from a registry, anonymously or with credentials. */
export const pullImage = async (
  store: ImageStore,
  reference: string,
  options: RegistryOptions,
  onProgress: OnImageProgress,
  signal: AbortSignal,
): Promise<ImageRecord> =>
  importOci(store, registrySource(parseReference(reference), options), onProgress, signal)

const registrySource = (reference: ImageReference, options: RegistryOptions): OciSource => {
  const request = openRegistry(reference.host, reference.repository, options)
  return {
    origin: reference.text,
    top: async (signal) => {
      const document = await fetchDocument(request, reference.target, signal)
      if (reference.target.startsWith('sha256:')) await checkTop(document, reference)
      return document
    },
    document: (descriptor, signal) => fetchDocument(request, descriptor.digest, signal),
    blob: async (descriptor, signal) => {
      const response = await request(`blobs/${descriptor.digest}`, ['*/*'], signal)
      if (response.body === null)
        throw new AtollError('stream_broken', `blob ${descriptor.digest} came without a body`)
      return Readable.from(watched(response.body, descriptor.digest, signal))
    },
  }
}

const fetchDocument = async (
  request: RegistryRequest,
  target: string,
  signal: AbortSignal,
): Promise<Document> => {
  const response = await request(
    `manifests/${target}`,
    [...mediaTypes.manifests, ...mediaTypes.indexes],
    signal,
  )
  const chunks: Uint8Array[] = []
  let bytes = 0
  if (response.body !== null) {
    for await (const chunk of watched(response.body, target, signal)) {
      bytes += chunk.length
      if (bytes > imageLimits.manifestBytes) {
        throw new AtollError(
          'payload_too_large',
          `manifest ${target} is over ${imageLimits.manifestBytes} bytes`,
        )
      }
      chunks.push(chunk)
    }
  }
  const mediaType = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? ''
  return { bytes: Buffer.concat(chunks), mediaType }
}

const checkTop = async (document: Document, reference: ImageReference): Promise<void> => {
  const hash = await crypto.subtle.digest('SHA-256', new Uint8Array(document.bytes))
  const found = `sha256:${Buffer.from(hash).toString('hex')}`
  if (found !== reference.target) {
    throw new AtollError('hash_mismatch', `cannot import ${reference.text}: the registry gave ${found}`)
  }
}

/** A body that ends with an error when nothing came for too long: a stalled download holds a build for ever. */
async function* watched(
  body: ReadableStream<Uint8Array>,
  subject: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  try {
    while (true) {
      const part = await readWithin(reader, subject, signal)
      if (part.done) return
      yield part.value
    }
  } finally {
    // An error of the stream was thrown above already; this only lets the connection go.
    await reader.cancel().catch(() => {})
  }
}

const readWithin = async (
  reader: ReadableStreamDefaultReader<Uint8Array>,
  subject: string,
  signal: AbortSignal,
): Promise<ReadableStreamReadResult<Uint8Array>> => {
  signal.throwIfAborted()
  const { promise, reject } = Promise.withResolvers<never>()
  const stalled = () =>
    reject(new AtollError('stream_broken', `the download of ${subject} stalled; try again`))
  const aborted = () => reject(signal.reason)
  const timer = setTimeout(stalled, imageLimits.registryStallMs)
  signal.addEventListener('abort', aborted, { once: true })
  try {
    return await Promise.race([reader.read(), promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
  }
}
