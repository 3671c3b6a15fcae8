/** What a program may leave unread before its writer waits, bytes. */
const stdinBufferBytes = 65_536

/** What a checkpoint keeps of an input. */
export interface SavedStdin {
  readonly chunks: readonly Uint8Array[]
  readonly closed: boolean
}

/** The standard input of a simulated process. */
export const stdinPipe = (isOpen: boolean, saved?: SavedStdin) => {
  const chunks: Uint8Array[] = [...(saved?.chunks ?? [])]
  let held = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
  let closed = saved?.closed ?? !isOpen
  let wake = Promise.withResolvers<void>()
  const notify = (): void => {
    const { resolve } = wake
    wake = Promise.withResolvers<void>()
    resolve()
  }
  return {
    get closed() {
      return closed
    },
    /** Resolves when the program may be given more. */
    write: async (bytes: Uint8Array): Promise<void> => {
      chunks.push(bytes)
      held += bytes.byteLength
      notify()
      while (held > stdinBufferBytes && !closed) await wake.promise
    },
    close: (): void => {
      closed = true
      notify()
    },
    save: (): SavedStdin => ({ chunks: [...chunks], closed }),
    read: async function* (signal: AbortSignal, passed: () => Promise<void>): AsyncGenerator<Uint8Array> {
      signal.addEventListener('abort', notify, { once: true })
      for (;;) {
        await passed()
        signal.throwIfAborted()
        const chunk = chunks.shift()
        if (chunk !== undefined) {
          held -= chunk.byteLength
          notify()
          yield chunk
        } else if (closed) return
        else await wake.promise
      }
    },
  }
}
