import { once } from 'node:events'
import type { Exit, ProcessHandle } from '@atoll/sdk'
import { AtollError, isAtollError } from '@atoll/sdk'

/** Output kept for --json, bytes of each stream. */
const maxKeptBytes = 16 * 1024 ** 2

export interface Passed {
  readonly exit: Exit
  readonly stdout: string
  readonly stderr: string
  readonly droppedBytes: number
}

/** Gives a process our stdin, and us its output, until it ends. With `keep` the output is gathered instead. */
export const passThrough = async (
  process_: ProcessHandle,
  options: { stdin: boolean; keep: boolean; signal: AbortSignal },
): Promise<Passed> => {
  const ended = new AbortController()
  const input = AbortSignal.any([options.signal, ended.signal])
  const feeding = options.stdin ? feed(process_, input).catch(tellLost) : undefined
  try {
    return await drain(process_, options)
  } finally {
    ended.abort()
    await feeding
  }
}

const drain = async (
  process_: ProcessHandle,
  options: { keep: boolean; signal: AbortSignal },
): Promise<Passed> => {
  const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] }
  let [keptBytes, droppedBytes] = [0, 0]
  for await (const event of process_.output({ signal: options.signal, offset: 0 })) {
    if (event.type === 'exit')
      return { exit: event.exit, stdout: text(kept.stdout), stderr: text(kept.stderr), droppedBytes }
    if (event.type === 'gap') {
      droppedBytes += event.to - event.from
      process.stderr.write(
        `atoll: ${event.to - event.from} bytes of output were lost: it came faster than it was read\n`,
      )
    }
    if (event.type !== 'stdout' && event.type !== 'stderr') continue
    if (!options.keep) await write(event.type === 'stdout' ? process.stdout : process.stderr, event.data)
    else if (keptBytes + event.data.length > maxKeptBytes) droppedBytes += event.data.length
    else {
      keptBytes += event.data.length
      kept[event.type].push(event.data)
    }
  }
  throw new AtollError('stream_broken', 'the output ended without the end of the process')
}

const text = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString('utf8')

const write = async (stream: NodeJS.WriteStream, data: Uint8Array): Promise<void> => {
  if (!stream.write(data)) await once(stream, 'drain')
}

/** A process that ended or never reads is no failure of ours: what it did not take is dropped, as a shell does. */
const feed = async (process_: ProcessHandle, signal: AbortSignal): Promise<void> => {
  try {
    for await (const chunk of stdinChunks(signal)) await process_.stdin.write(chunk, { signal })
    await process_.stdin.close({ signal })
  } catch (error) {
    const expected = ['stdin_closed', 'process_ended', 'process_not_found', 'canceled'] as const
    if (!signal.aborted && !expected.some((code) => isAtollError(error, code))) throw error
  }
}

/** The process goes on without the rest of its input, so it must be said. */
const tellLost = (error: unknown): void => {
  process.stderr.write(
    `atoll: the standard input was cut: ${error instanceof Error ? error.message : String(error)}\n`,
  )
}

async function* stdinChunks(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const stop = (): void => void process.stdin.destroy()
  signal.addEventListener('abort', stop, { once: true })
  try {
    for await (const chunk of process.stdin) yield chunk as Uint8Array
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
