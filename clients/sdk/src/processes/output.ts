import { errorFromBody, type Exit, type OutputEvent, type Process } from '@atoll/protocol'
import { fromBase64 } from '../connection/bytes.ts'
import type { Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { readLines } from '../connection/ndjson.ts'
import { resuming } from '../connection/resume.ts'

/** Something that a process did, as a program wants to see it. */
export type ProcessEvent =
  | { readonly type: 'started'; readonly process: Process }
  | { readonly type: 'stdout' | 'stderr'; readonly offset: number; readonly data: Uint8Array }
  /** Bytes from..to were overwritten before anyone read them. */
  | { readonly type: 'gap'; readonly from: number; readonly to: number }
  | { readonly type: 'exit'; readonly exit: Exit }

export interface Followed {
  readonly connection: Connection
  /** `/v1/sandboxes/{id}/processes/{process}` */
  readonly path: string
  readonly act: string
  readonly signal: AbortSignal | undefined
  /** Offset in the process's log from which to read; undefined is the start of what is kept. */
  readonly offset: number | undefined
}

/**
 * A process's output until its exit, over as many connections as it takes: after a break it goes on from the last
 * byte seen, so nothing is doubled and nothing is lost silently. Ends with `exit`, or throws.
 */
export const followOutput = (
  followed: Followed,
  first?: () => Promise<Response>,
): AsyncGenerator<ProcessEvent, void, undefined> => {
  const position: Position = { offset: followed.offset, started: false }
  const open = (): AsyncGenerator<ProcessEvent, void, undefined> =>
    readPart(followed, position, first !== undefined && !position.started ? first : undefined)
  return resuming(open, followed.act, followed.signal)
}

interface Position {
  offset: number | undefined
  started: boolean
}

async function* readPart(
  followed: Followed,
  position: Position,
  first: (() => Promise<Response>) | undefined,
): AsyncGenerator<ProcessEvent, void, undefined> {
  const response = await (first === undefined ? openOutput(followed, position) : first())
  for await (const event of readLines<OutputEvent>(response, followed.act)) {
    switch (event.type) {
      case 'started':
        if (!position.started) yield { type: 'started', process: event.process }
        position.started = true
        break
      case 'stdout':
      case 'stderr': {
        const fresh = unseen(event, position)
        if (fresh !== undefined) yield fresh
        break
      }
      case 'gap':
        position.offset = Math.max(position.offset ?? 0, event.to)
        yield { type: 'gap', from: event.from, to: event.to }
        break
      case 'exit':
        yield { type: 'exit', exit: event.exit }
        return
      case 'error':
        throw errorFromBody(event.error, 502, `cannot ${followed.act}`)
      case 'evicted':
        // We read too slowly and were dropped; the process goes on, and so do we.
        throw streamBroken(followed.act)
      case 'end':
      case 'heartbeat':
        break
    }
  }
  throw streamBroken(followed.act)
}

const openOutput = (followed: Followed, position: Position): Promise<Response> =>
  followed.connection.send({
    method: 'GET',
    path: `${followed.path}/output`,
    query: { offset: position.offset, follow: true },
    headers: { accept: 'application/x-ndjson' },
    act: followed.act,
    signal: followed.signal,
    streamed: true,
  })

/** Drops what an earlier connection delivered already. */
const unseen = (
  event: { type: 'stdout' | 'stderr'; offset: number; data: string },
  position: Position,
): ProcessEvent | undefined => {
  position.started = true
  const data = fromBase64(event.data)
  const seen = Math.max(0, (position.offset ?? event.offset) - event.offset)
  position.offset = Math.max(position.offset ?? 0, event.offset + data.length)
  if (seen >= data.length) return undefined
  return { type: event.type, offset: event.offset + seen, data: seen === 0 ? data : data.subarray(seen) }
}
