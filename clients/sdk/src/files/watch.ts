import type { WatchEvent } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { readLines } from '../connection/ndjson.ts'

export interface WatchOptions extends CallOptions {
  readonly user?: string | undefined
  readonly recursive?: boolean | undefined
}

/** A change below a watched path. After `overflow` some were lost: list the directory again. */
export interface WatchedChange {
  readonly type: 'ready' | 'created' | 'written' | 'removed' | 'moved' | 'attributes' | 'overflow'
  readonly path?: string | undefined
  /** The old path of `moved`. */
  readonly from?: string | undefined
}

/** Never resumes by itself: changes between two connections would be lost without a word. */
export async function* watchPath(
  connection: Connection,
  base: string,
  path: string,
  options: WatchOptions,
): AsyncGenerator<WatchedChange, void, undefined> {
  const act = `watch ${path}`
  const response = await connection.send({
    method: 'GET',
    path: `${base}/files/watch`,
    query: { path, user: options.user, recursive: options.recursive },
    headers: { accept: 'application/x-ndjson' },
    act,
    signal: options.signal,
    streamed: true,
  })
  for await (const { type, path: at, from } of readLines<WatchEvent>(response, act)) {
    if (type === 'error') throw streamBroken(act)
    if (type !== 'heartbeat') yield { type, path: at, from }
  }
  throw streamBroken(act)
}
