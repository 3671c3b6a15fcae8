import { limits as shared } from '@atoll/protocol'
import type { Context } from '../context.ts'

/** How to read one page of a log, and whether nothing more can come. */
export interface LogSource {
  readonly name: string
  page(after: number): Promise<readonly { readonly seq: number; readonly line: string }[]>
  finished(): Promise<boolean>
}

/**
 * A log as NDJSON. Follows until the log is finished, with a heartbeat in silence; a reader that is
 * slow is waited for, since nothing is held but one page.
 */
export const logLines = async function* (
  context: Context,
  source: LogSource,
  after: number,
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<string> {
  let cursor = after
  while (!signal.aborted) {
    using armed = context.hub.arm(source.name)
    // Asked before the page is read: what is appended before the end is then never missed.
    const finished = await source.finished()
    const page = await source.page(cursor)
    for (const entry of page) {
      cursor = entry.seq
      yield entry.line
    }
    if (page.length > 0) continue
    if (!follow || finished) return
    const before = context.clock.monotonic()
    await armed.wait(shared.heartbeatMs, signal)
    if (context.clock.monotonic() - before >= shared.heartbeatMs - 50)
      yield JSON.stringify({ type: 'heartbeat', atMs: context.clock.now() })
  }
}
