import type { Context as HonoContext } from 'hono'
import type { Context } from '../context.ts'
import { type LogSource, logLines } from '../events/lines.ts'
import type { Environment } from './environment.ts'

/** Answers with a log as NDJSON; pulled line by line, so that a slow reader holds one page and no more. */
export const streamLines = (
  context: Context,
  c: HonoContext<Environment>,
  source: LogSource,
  query: { readonly after: number; readonly follow: boolean },
): Response => {
  const place = query.follow ? context.followers.enter() : undefined
  const gone = new AbortController()
  const signal = AbortSignal.any([gone.signal, c.req.raw.signal, context.closed])
  const lines = logLines(context, source, query.after, query.follow, signal)
  const leave = (): void => {
    gone.abort()
    place?.[Symbol.dispose]()
  }
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next = await lines.next()
        if (!next.done) return controller.enqueue(encoder.encode(`${escapeNonAscii(next.value)}\n`))
        leave()
        controller.close()
      } catch (error) {
        leave()
        context.logger.error({ log: source.name, error: String(error) }, 'a stream of lines broke')
        controller.error(error)
      }
    },
    cancel: leave,
  })
  return c.body(body, 200, { 'content-type': 'application/x-ndjson' })
}

/** Clients split NDJSON at U+2028 or in the middle of a character: escaped, they cannot. */
const escapeNonAscii = (text: string): string =>
  text.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
