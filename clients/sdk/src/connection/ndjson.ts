import { AtollError } from '@atoll/protocol'
import { isAtollError, streamBroken } from './faults.ts'

/** Longest line that is taken, UTF-16 units: a chunk of output is at most 64 KiB, in base64. */
const maxLineLength = 4 * 1024 * 1024
/** The server sends a heartbeat after 5 s of silence; this long without a byte means that the way is dead. */
export const maxSilenceMs = 30_000

/**
 * Lines of an NDJSON body as values. Throws `stream_broken` when the connection breaks, goes silent, or ends in
 * mid-line; a clean end is the caller's to judge. Leaving the loop early cancels the body.
 */
export async function* readLines<T>(response: Response, act: string): AsyncGenerator<T, void, undefined> {
  if (response.body === null) throw streamBroken(act)
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let pending = ''
  let finished = false
  try {
    for (;;) {
      const { done, value } = await readOrBreak(reader, act)
      pending += done ? decoder.decode() : decoder.decode(value, { stream: true })
      let from = 0
      for (let at = pending.indexOf('\n'); at !== -1; at = pending.indexOf('\n', from)) {
        if (at > from) yield parse<T>(pending.slice(from, at), act)
        from = at + 1
      }
      pending = pending.slice(from)
      if (pending.length > maxLineLength)
        throw new AtollError(
          'stream_broken',
          `cannot ${act}: a line of over ${maxLineLength} characters came`,
        )
      if (done) break
    }
    finished = true
    if (pending.trim() !== '') throw streamBroken(act)
  } finally {
    if (!finished) await reader.cancel().catch(() => undefined)
  }
}

const parse = <T>(line: string, act: string): T => {
  try {
    return JSON.parse(line) as T
  } catch (error) {
    throw streamBroken(act, error)
  }
}

const readOrBreak = async (
  reader: ReadableStreamDefaultReader<Uint8Array>,
  act: string,
): Promise<{ done: boolean; value?: Uint8Array | undefined }> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new AtollError('stream_broken', `cannot ${act}: no byte came for ${maxSilenceMs} ms`)),
      maxSilenceMs,
    )
  })
  try {
    return await Promise.race([reader.read(), silence])
  } catch (error) {
    throw isAtollError(error) ? error : streamBroken(act, error)
  } finally {
    clearTimeout(timer)
  }
}
