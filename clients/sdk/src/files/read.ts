import { AtollError } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'

export interface ReadOptions extends CallOptions {
  readonly user?: string | undefined
  /** First byte to read; default 0. */
  readonly from?: number | undefined
  /** The byte after the last one to read; default: the end. */
  readonly to?: number | undefined
}

export const readFile = async (
  connection: Connection,
  base: string,
  path: string,
  options: ReadOptions,
): Promise<Uint8Array<ArrayBuffer>> => {
  const stream = await readFileStream(connection, base, path, options)
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

export const readFileStream = async (
  connection: Connection,
  base: string,
  path: string,
  options: ReadOptions,
): Promise<ReadableStream<Uint8Array>> => {
  const act = `read ${path}`
  const range = rangeOf(options, act)
  const response = await connection.send({
    method: 'GET',
    path: `${base}/files`,
    query: { path, user: options.user },
    headers: { accept: 'application/octet-stream', ...(range === undefined ? {} : { range }) },
    act,
    signal: options.signal,
    streamed: true,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  })
  const announced = response.headers.get('content-length')
  const source = response.body ?? new ReadableStream<Uint8Array>({ start: (control) => control.close() })
  return source.pipeThrough(counting(announced === null ? undefined : Number(announced), act))
}

const rangeOf = (options: ReadOptions, act: string): string | undefined => {
  const { from = 0, to } = options
  if (from === 0 && to === undefined) return undefined
  if (from < 0 || (to !== undefined && to <= from))
    throw new AtollError('invalid_request', `cannot ${act}: bytes ${from} to ${to} are no range`)
  return `bytes=${from}-${to === undefined ? '' : to - 1}`
}

/** A cut body is an error, not a shorter file. */
const counting = (announced: number | undefined, act: string): TransformStream<Uint8Array, Uint8Array> => {
  let seen = 0
  return new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      seen += chunk.length
      controller.enqueue(chunk)
    },
    flush: (controller) => {
      if (announced !== undefined && seen !== announced) controller.error(streamBroken(act))
    },
  })
}
