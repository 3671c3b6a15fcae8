import type { Writable } from 'node:stream'

/** Resolves when a writable takes more, or is closed: whoever waits looks at `destroyed` next. */
export const drained = (stream: Writable): Promise<void> => {
  if (stream.destroyed || !stream.writableNeedDrain) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.on('drain', done)
    stream.on('close', done)
  })
}
