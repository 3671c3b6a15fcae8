import { AtollError } from '@atoll/protocol'
import { checkedBody } from '../connection/checked-body.ts'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { wholeBody } from '../connection/whole-body.ts'

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
  const act = `read ${path}`
  return await wholeBody(await ask(connection, base, path, options, act), act, options.signal)
}

export const readFileStream = async (
  connection: Connection,
  base: string,
  path: string,
  options: ReadOptions,
): Promise<ReadableStream<Uint8Array>> => {
  const act = `read ${path}`
  return checkedBody(await ask(connection, base, path, options, act), act, options.signal)
}

const ask = (
  connection: Connection,
  base: string,
  path: string,
  options: ReadOptions,
  act: string,
): Promise<Response> => {
  const range = rangeOf(options, act)
  return connection.send({
    method: 'GET',
    path: `${base}/files`,
    query: { path, user: options.user },
    headers: { accept: 'application/octet-stream', ...(range === undefined ? {} : { range }) },
    act,
    signal: options.signal,
    streamed: true,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  })
}

const rangeOf = (options: ReadOptions, act: string): string | undefined => {
  const { from = 0, to } = options
  if (from === 0 && to === undefined) return undefined
  if (from < 0 || (to !== undefined && to <= from))
    throw new AtollError('invalid_request', `cannot ${act}: bytes ${from} to ${to} are no range`)
  return `bytes=${from}-${to === undefined ? '' : to - 1}`
}
