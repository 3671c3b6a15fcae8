import { AtollError } from '@atoll/sdk'

/** A signal that fires at Ctrl-C or SIGTERM. The second Ctrl-C ends at once. */
export const onInterrupt = (): { signal: AbortSignal } & Disposable => {
  const interrupted = new AbortController()
  const stop = (name: NodeJS.Signals): void => {
    if (interrupted.signal.aborted) process.exit(130)
    interrupted.abort(new AtollError('canceled', `interrupted by ${name}`))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return {
    signal: interrupted.signal,
    [Symbol.dispose]: () => {
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
    },
  }
}
