import { errorFromBody, type SandboxEvent } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { readLines } from '../connection/ndjson.ts'
import { resuming } from '../connection/resume.ts'
import { readSandbox } from './read.ts'

export interface FollowEventsOptions extends CallOptions {
  /** `seq` of the last event seen; default: from the first one that is kept. */
  readonly after?: number | undefined
  /** Goes on with what happens; default: ends at the present. */
  readonly follow?: boolean | undefined
}

type Line = SandboxEvent | { type: 'heartbeat' } | { type: 'error'; error: unknown }

export const followEvents = (
  connection: Connection,
  sandbox: string,
  options: FollowEventsOptions,
): AsyncGenerator<SandboxEvent, void, undefined> => {
  const position = { after: options.after }
  const act = `read the events of ${sandbox}`
  return resuming(() => readPart(connection, sandbox, options, position, act), act, options.signal)
}

async function* readPart(
  connection: Connection,
  sandbox: string,
  options: FollowEventsOptions,
  position: { after: number | undefined },
  act: string,
): AsyncGenerator<SandboxEvent, void, undefined> {
  const follow = options.follow === true
  const response = await connection.send({
    method: 'GET',
    path: `/v1/sandboxes/${sandbox}/events`,
    query: { after: position.after, follow: follow ? true : undefined },
    headers: { accept: 'application/x-ndjson' },
    act,
    signal: options.signal,
    streamed: true,
  })
  for await (const line of readLines<Line>(response, act)) {
    if (!('seq' in line)) {
      if (line.type === 'error') throw errorFromBody((line as { error: unknown }).error, 502, `cannot ${act}`)
      continue
    }
    position.after = line.seq
    yield line
  }
  if (!follow) return
  // Nothing comes after the end of a sandbox: only then may a followed log end.
  const { state } = await readSandbox(connection, sandbox, { signal: options.signal })
  if (state !== 'ended') throw streamBroken(act)
}
