import {
  AtollError,
  type ErrorCode,
  frameKinds,
  type GuestResponse,
  type OutputEvent,
  outputEventSchema,
  type OutputFrame,
  outputFrameDecoder,
} from '@atoll/protocol'
import type { GatewayLimits } from '../limits.ts'

/** An event of a process's output; bytes stay bytes until someone needs them as text. */
export type ProcessEvent =
  | { readonly type: 'stdout' | 'stderr'; readonly offset: number; readonly bytes: Uint8Array }
  | Exclude<OutputEvent, { readonly type: 'stdout' | 'stderr' }>

/** True for what an output stream ends with. */
export const isTerminal = (event: ProcessEvent): boolean =>
  event.type === 'exit' || event.type === 'evicted' || event.type === 'error' || event.type === 'end'

/**
 * The guest's frames as events, in batches as they came. The last one is terminal, always: a stream that
 * ends without its end, or is malformed, or falls silent, ends in an error (invariant 1).
 */
export const outputEvents = async function* (
  body: GuestResponse['body'],
  follow: boolean,
  limits: Pick<GatewayLimits, 'guestSilenceMs'>,
  gone: AbortSignal,
): AsyncGenerator<readonly ProcessEvent[]> {
  const decoder = outputFrameDecoder()
  let offset = 0
  let ended = false
  // `return()` of a generator waits for its turn, which a silent process may never give: the stream is cut.
  const leave = (): void => void body.destroy()
  if (gone.aborted) leave()
  gone.addEventListener('abort', leave, { once: true })
  try {
    for await (const chunk of audible(body, limits.guestSilenceMs)) {
      const events: ProcessEvent[] = []
      for (const frame of decoder.push(chunk)) {
        const event = eventOf(frame)
        if (event === undefined) continue
        if ('bytes' in event) offset = event.offset + event.bytes.length
        events.push(event)
        ended = isTerminal(event)
        if (ended) break
      }
      if (events.length > 0) yield events
      if (ended) return
    }
    yield [follow || decoder.pendingBytes > 0 ? broken('it ended without an exit') : { type: 'end', offset }]
  } catch (error) {
    if (!ended) yield [failed(error)]
  } finally {
    gone.removeEventListener('abort', leave)
    body.destroy()
  }
}

const eventOf = (frame: OutputFrame): ProcessEvent | undefined => {
  switch (frame.kind) {
    case frameKinds.stdout:
      return { type: 'stdout', offset: frame.offset, bytes: frame.payload }
    case frameKinds.stderr:
      return { type: 'stderr', offset: frame.offset, bytes: frame.payload }
    case frameKinds.event: {
      const event = outputEventSchema.parse(JSON.parse(Buffer.from(frame.payload).toString()))
      if ('data' in event) throw new RangeError('bytes in an event frame')
      return event
    }
    default:
      return undefined
  }
}

/** Chunks of a stream that may not be silent for long. Time in which nobody asks for one does not count. */
const audible = async function* (body: GuestResponse['body'], silenceMs: number): AsyncGenerator<Uint8Array> {
  let asking = false
  const timer = setTimeout(() => {
    if (asking) body.destroy(new AtollError('stream_broken', `the guest was silent for ${silenceMs} ms`))
  }, silenceMs)
  try {
    const chunks = body[Symbol.asyncIterator]()
    for (;;) {
      asking = true
      timer.refresh()
      const next = await chunks.next()
      asking = false
      if (next.done) return
      yield next.value
    }
  } finally {
    clearTimeout(timer)
  }
}

const broken = (why: string): ProcessEvent => errorEvent(new AtollError('stream_broken', message(why)))

const message = (why: string): string =>
  `the output stream broke: ${why}; the process may go on: follow it again from the last offset`

export const errorEvent = (error: AtollError): ProcessEvent => ({
  type: 'error',
  error: { ...error.toBody() },
})

const keptCodes: ReadonlySet<ErrorCode> = new Set(['sandbox_ended', 'deadline_node', 'guest_unreachable'])

/** What the node knows better than "broken" keeps its code. */
const failed = (error: unknown): ProcessEvent => {
  if (!(error instanceof AtollError)) return broken('the guest sent what is not of its protocol')
  if (keptCodes.has(error.code)) return errorEvent(error)
  return broken(`${error.code}: ${error.message}`)
}
