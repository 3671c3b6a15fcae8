/** Lets a limited number in at a time and a limited number wait. */
export const semaphore = (places: number, maxWaiting: number) => {
  let free = places
  const waiting: (() => void)[] = []
  return {
    get waiting() {
      return waiting.length
    },
    /** Resolves with the release; undefined when the queue is full. */
    async enter(signal?: AbortSignal): Promise<Disposable | undefined> {
      signal?.throwIfAborted()
      if (free > 0) free--
      else if (waiting.length >= maxWaiting) return undefined
      else await turn(waiting, signal)
      let held = true
      return {
        [Symbol.dispose]: () => {
          if (!held) return
          held = false
          const next = waiting.shift()
          if (next === undefined) free++
          else next()
        },
      }
    },
  }
}

const turn = (waiting: (() => void)[], signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    const go = (): void => {
      signal?.removeEventListener('abort', leave)
      resolve()
    }
    const leave = (): void => {
      waiting.splice(waiting.indexOf(go), 1)
      reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted while waiting'))
    }
    waiting.push(go)
    signal?.addEventListener('abort', leave, { once: true })
  })
