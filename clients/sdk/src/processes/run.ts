import { AtollError, type Exit, type Process } from '@atoll/protocol'
import { bodyOf, concat } from '../connection/bytes.ts'
import type { Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { newKey } from '../connection/random-key.ts'
import { type Command, type ProcessOptions, type Start, startOf } from './command.ts'
import { followOutput, type ProcessEvent } from './output.ts'

export interface RunOptions extends ProcessOptions {
  /** Bytes for the standard input, which is closed after them. At most about 768 KiB; `start` streams more. */
  readonly input?: string | Uint8Array | undefined
  /** Throws `exec_failed` when it does not end with code 0. Default: it does not throw. */
  readonly check?: boolean | undefined
  /** Called with text as it arrives; characters are never split. */
  readonly onStdout?: ((text: string) => void) | undefined
  readonly onStderr?: ((text: string) => void) | undefined
  /** Bytes of output kept in the result; what is over is counted in `droppedBytes`. Default 16 MiB. */
  readonly maxOutputBytes?: number | undefined
}

/** One shape for success and failure. */
export interface RunResult {
  /** True when it ended by itself with code 0. */
  readonly ok: boolean
  readonly exit: Exit
  readonly stdout: string
  readonly stderr: string
  /** The same as bytes, for output that is no text. */
  readonly stdoutBytes: Uint8Array
  readonly stderrBytes: Uint8Array
  /** Bytes that are missing above: over `maxOutputBytes`, or overwritten before they could be read. */
  readonly droppedBytes: number
  readonly process: Process
}

const defaultMaxOutputBytes = 16 * 1024 ** 2
/** Time that a canceled run takes at most to end its process. */
const killWithinMs = 5_000

/** Runs a command to its end. A broken connection is taken up again; a canceled run ends its process. */
export const runProcess = async (
  connection: Connection,
  sandbox: string,
  command: Command,
  options: RunOptions,
): Promise<RunResult> => {
  const bytes = options.input === undefined ? undefined : await bodyOf(options.input)
  const start = startOf(command, options, bytes instanceof Uint8Array ? { bytes } : {})
  const path = `/v1/sandboxes/${sandbox}/processes`
  const ended = new AbortController()
  const signal = options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal])
  const timer = clientDeadline(options.deadlineMs, start, ended)
  const act = `run ${start.name} in ${sandbox}`
  const events = followOutput(
    { connection, path: `${path}/${start.id}`, act, signal, offset: undefined },
    startAndFollow(connection, path, start, act, signal),
  )
  try {
    const result = await collect(events, options, act)
    return options.check === true ? checked(result, start, sandbox) : result
  } catch (error) {
    if (signal.aborted) await endQuietly(connection, `${path}/${start.id}`)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** The call that starts a process and streams its output at once. Repeatable: id and key stay the same. */
export const startAndFollow = (
  connection: Connection,
  path: string,
  start: Start,
  act: string,
  signal: AbortSignal | undefined,
): (() => Promise<Response>) => {
  const idempotencyKey = newKey()
  return () =>
    connection.send({
      method: 'POST',
      path,
      json: start.body,
      headers: { accept: 'application/x-ndjson' },
      act,
      idempotencyKey,
      signal,
      streamed: true,
    })
}

const clientDeadline = (
  deadlineMs: number | undefined,
  start: Start,
  ended: AbortController,
): ReturnType<typeof setTimeout> | undefined =>
  deadlineMs === undefined
    ? undefined
    : setTimeout(
        () =>
          ended.abort(
            new AtollError(
              'deadline_client',
              `cannot run ${start.name}: the client's deadline of ${deadlineMs} ms passed`,
            ),
          ),
        deadlineMs,
      )

const collect = async (
  events: AsyncIterable<ProcessEvent>,
  options: RunOptions,
  act: string,
): Promise<RunResult> => {
  const room = { bytes: options.maxOutputBytes ?? defaultMaxOutputBytes, dropped: 0 }
  const stdout = channel(room, options.onStdout)
  const stderr = channel(room, options.onStderr)
  let process: Process | undefined
  let exit: Exit | undefined
  for await (const event of events) {
    if (event.type === 'started') process = event.process
    else if (event.type === 'exit') exit = event.exit
    else if (event.type === 'gap') room.dropped += event.to - event.from
    else (event.type === 'stdout' ? stdout : stderr).push(event.data)
  }
  // An exit without a start means that somebody else's stream was read: never a success.
  if (exit === undefined || process === undefined) throw streamBroken(act)
  const [stdoutBytes, stderrBytes] = [stdout.end(), stderr.end()]
  const decoder = new TextDecoder()
  return {
    ok: exit.code === 0 && !exit.timedOut,
    exit,
    stdout: decoder.decode(stdoutBytes),
    stderr: decoder.decode(stderrBytes),
    stdoutBytes,
    stderrBytes,
    droppedBytes: room.dropped,
    process: { ...process, state: 'exited', exit },
  }
}

const channel = (
  room: { bytes: number; dropped: number },
  onText: ((text: string) => void) | undefined,
): { push(data: Uint8Array): void; end(): Uint8Array } => {
  const chunks: Uint8Array[] = []
  const decoder = new TextDecoder()
  return {
    push: (data) => {
      const kept = data.subarray(0, Math.max(0, room.bytes))
      room.bytes -= kept.length
      room.dropped += data.length - kept.length
      if (kept.length > 0) chunks.push(kept)
      const text = onText === undefined ? '' : decoder.decode(data, { stream: true })
      if (text !== '') onText?.(text)
    },
    end: () => {
      const rest = decoder.decode()
      if (rest !== '') onText?.(rest)
      return concat(chunks)
    },
  }
}

const checked = (result: RunResult, start: Start, sandbox: string): RunResult => {
  if (result.ok) return result
  const { code, signal, timedOut } = result.exit
  const how = timedOut
    ? 'ran out of its time'
    : code === null
      ? `was ended by ${signal}`
      : `ended with code ${code}`
  const said = result.stderr.trim().slice(-500)
  throw new AtollError('exec_failed', `${start.name} in ${sandbox} ${how}${said === '' ? '' : `: ${said}`}`, {
    details: { code, signal, timedOut, process: start.id },
  })
}

/** Best effort after a cancel: the caller's error is the one that counts. */
const endQuietly = (connection: Connection, path: string): Promise<unknown> =>
  connection
    .json({ method: 'DELETE', path, act: 'end a canceled process', deadlineMs: killWithinMs })
    .catch(() => undefined)
