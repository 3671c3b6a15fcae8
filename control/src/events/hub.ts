/** Wakes those who follow a log when something was appended. Holds no data: readers go to the database. */
export const eventHub = () => {
  const sleepers = new Map<string, Set<() => void>>()
  return {
    notify(name: string): void {
      const woken = sleepers.get(name)
      sleepers.delete(name)
      for (const wake of woken ?? []) wake()
    },
    /** Arms first, so that nothing is missed between a read and the wait; then wait with a limit. */
    arm(name: string): { wait(maxMs: number, signal: AbortSignal): Promise<void> } & Disposable {
      const { promise, resolve } = Promise.withResolvers<void>()
      const set = sleepers.get(name) ?? new Set()
      set.add(resolve)
      sleepers.set(name, set)
      const leave = (): void => {
        set.delete(resolve)
        if (set.size === 0 && sleepers.get(name) === set) sleepers.delete(name)
      }
      return {
        async wait(maxMs, signal) {
          if (signal.aborted) return
          const timer = setTimeout(resolve, maxMs)
          const onAbort = (): void => resolve()
          signal.addEventListener('abort', onAbort, { once: true })
          await promise
          clearTimeout(timer)
          signal.removeEventListener('abort', onAbort)
        },
        [Symbol.dispose]: leave,
      }
    },
  }
}

export type EventHub = ReturnType<typeof eventHub>
