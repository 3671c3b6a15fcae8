/** Where programs wait while they shall not run. */
export interface Gate {
  readonly isClosed: boolean
  close(): void
  open(): void
  /** Resolves at once while it is open; when the waiter is aborted, too. */
  passed(signal?: AbortSignal): Promise<void>
}

/** An open gate. */
export const makeGate = (): Gate => {
  let opened: PromiseWithResolvers<void> | undefined
  return {
    get isClosed() {
      return opened !== undefined
    },
    close: () => {
      opened ??= Promise.withResolvers()
    },
    open: () => {
      opened?.resolve()
      opened = undefined
    },
    passed: async (signal) => {
      while (opened !== undefined && signal?.aborted !== true) {
        const { promise } = opened
        if (signal === undefined) await promise
        else await Promise.race([promise, aborted(signal)])
      }
    },
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
