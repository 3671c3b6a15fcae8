/** What a program may leave unread before its writer waits, bytes. */
const stdinBufferBytes = 65_536

/** The standard input of a simulated process. */
export const stdinPipe = (isOpen: boolean) => {
  const chunks: Uint8Array[] = []
  let held = 0
  let closed = !isOpen
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
    read: async function* (signal: AbortSignal): AsyncGenerator<Uint8Array> {
      signal.addEventListener('abort', notify, { once: true })
      for (;;) {
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
