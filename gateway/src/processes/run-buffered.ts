import { isUtf8 } from 'node:buffer'
import {
  AtollError,
  errorFromBody,
  type Exit,
  limits as shared,
  type Process,
  processSchema,
  type RunResult,
} from '@atoll/protocol'
import { sendJson } from '../answer.ts'
import { askGuestJson } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { killProcess, startAndFollow } from './follow.ts'
import type { ProcessEvent } from './output-events.ts'
import type { Start } from './start-request.ts'

/** Runs a process to its end and answers once. What is over the limit is dropped, counted and told. */
export const runBuffered = async (call: Call, start: Start): Promise<void> => {
  const { events } = await startAndFollow(call, start)
  const gathered = gather(call.deps.limits.bufferedOutputBytes)
  let exit: Exit | undefined
  for await (const batch of events) for (const event of batch) exit = gathered.add(event) ?? exit
  if (call.gone.aborted) {
    if (call.query.get('attached') === '1') await killProcess(call, start.id)
    return
  }
  if (exit === undefined) throw gathered.failure(start.id)
  const process = await recordOf(call, start.id, gathered, exit)
  sendJson(call.response, 200, { process, exit, ...gathered.text() } satisfies RunResult)
}

const gather = (maxBytes: number) => {
  const kept = { stdout: new Array<Uint8Array>(), stderr: new Array<Uint8Array>() }
  let keptBytes = 0
  let droppedBytes = 0
  let started: Process | undefined
  let end = 0
  let failed: AtollError | undefined
  const addBytes = (event: Extract<ProcessEvent, { bytes: Uint8Array }>): void => {
    const part = event.bytes.subarray(0, Math.max(0, maxBytes - keptBytes))
    if (part.length > 0) kept[event.type].push(part)
    keptBytes += part.length
    droppedBytes += event.bytes.length - part.length
    end = event.offset + event.bytes.length
  }
  return {
    /** Takes an event; answers with the exit when it is that. */
    add(event: ProcessEvent): Exit | undefined {
      if ('bytes' in event) addBytes(event)
      else if (event.type === 'started') started = event.process
      else if (event.type === 'gap') droppedBytes += event.to - event.from
      else if (event.type === 'error') failed = errorFromBody(event.error, 502, 'cannot run')
      else if (event.type === 'exit') return event.exit
      return undefined
    },
    failure: (id: string): AtollError =>
      failed ??
      new AtollError(
        'stream_broken',
        `cannot tell how process ${id} ended: its reader was evicted; ask for it again`,
      ),
    text: () => ({ ...asText('stdout', kept.stdout), ...asText('stderr', kept.stderr), droppedBytes }),
    get started() {
      return started
    },
    get end() {
      return end
    },
  }
}

/**
 * The record after the end. With little output nothing can have fallen out of the ring, and what is known
 * already says it all: that saves a round trip on the common path.
 */
const recordOf = async (
  call: Call,
  id: string,
  gathered: { readonly started: Process | undefined; readonly end: number },
  exit: Exit,
): Promise<Process> => {
  const { started, end } = gathered
  if (started === undefined || end > shared.outputRingMinBytes)
    return await askGuestJson(call, { method: 'GET', path: `/v1/processes/${id}` }, processSchema)
  const log = { start: started.log.start, end: Math.max(end, started.log.end) }
  return { ...started, state: 'exited', exit, log }
}

const asText = <Name extends 'stdout' | 'stderr'>(name: Name, chunks: readonly Uint8Array[]) => {
  const bytes = Buffer.concat(chunks)
  const encoding = isUtf8(bytes) ? 'utf8' : 'base64'
  return { [name]: bytes.toString(encoding), [`${name}Encoding`]: encoding } as Record<Name, string> &
    Record<`${Name}Encoding`, 'utf8' | 'base64'>
}
