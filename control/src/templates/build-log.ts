import { type BuildEvent, buildEventSchema, scrub } from '@atoll/protocol'
import type { Context } from '../context.ts'

/** Entries that wait to be written before one transaction takes them all. */
const batchCount = 256
/** Entries that may wait: beyond, output is dropped and said to be. */
const waitingCount = 4_096

/**
 * Writes a build's events in batches. What a step prints is hostile data (invariant 8): scrubbed and
 * bounded in size and in number, and what is dropped is told.
 */
export const buildLog = (context: Context, build: string) => {
  const waiting: BuildEvent[] = []
  let written = 0
  let dropped = 0
  let writing: Promise<void> | undefined
  const write = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = waiting.splice(0, batchCount)
      const rows = batch.map((event) => ({ build, seq: ++written, data: line(context, event) }))
      await context.db.insertInto('build_events').values(rows).execute()
      context.hub.notify(build)
    }
  }
  const flush = async (): Promise<void> => {
    if (dropped > 0) {
      waiting.push({
        type: 'output',
        atMs: context.clock.now(),
        text: `[${dropped} entries dropped: over the limit]`,
      })
      dropped = 0
    }
    writing = (writing ?? Promise.resolve()).then(write)
    await writing
  }
  return {
    add(event: BuildEvent): void {
      const full = waiting.length >= waitingCount || written + waiting.length >= context.limits.buildEvents
      if (full && event.type === 'output') dropped += 1
      else if (written + waiting.length < context.limits.buildEvents * 2) waiting.push(event)
      if (waiting.length === 1) void flush().catch(() => {})
    },
    flush,
  }
}

const line = (context: Context, event: BuildEvent): string => {
  const clean = event.text === undefined ? event : { ...event, text: scrub(event.text) }
  const text = JSON.stringify(buildEventSchema.parse(clean))
  if (text.length <= context.limits.buildEventBytes) return text
  return JSON.stringify({ type: event.type, atMs: event.atMs, text: '[entry dropped: over the limit]' })
}
