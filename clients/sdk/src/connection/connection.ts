import { AtollError } from '@atoll/protocol'
import { errorFromAbort, errorFromFetch, errorFromResponse, isAtollError } from './faults.ts'
import { newKey } from './random-key.ts'
import { pause, waitBeforeRetry } from './retry.ts'
import type { Settings } from './settings.ts'

/** What every call takes. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** The client's own deadline, retries included; past it the call fails with `deadline_client`. */
  readonly deadlineMs?: number | undefined
}

export interface Call extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  /** For messages: `cannot ${act}: …`. */
  readonly act: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly json?: unknown
  readonly body?: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | string
  readonly headers?: Readonly<Record<string, string>>
  /** Makes the call happen once; a fresh one is made where none is given (invariant 13). */
  readonly idempotencyKey?: string | undefined
  /** Streams have no deadline of their own beyond the caller's signal. */
  readonly streamed?: boolean
  /** For what must not be sent twice, like bytes for a standard input. */
  readonly once?: boolean
}

/** A way to one Atoll: sends calls, retries what is safe, turns every failure into an AtollError. */
export interface Connection {
  readonly settings: Settings
  /** The answer of a call that succeeded. The body is the caller's to read. */
  send(call: Call): Promise<Response>
  /** The JSON answer of a call that succeeded. */
  json<T>(call: Call): Promise<T>
}

export const connectionTo = (settings: Settings): Connection => ({
  settings,
  send: (call) =>
    within(settings, call, (signal) =>
      attempts(settings, call, signal, (response) => Promise.resolve(response)),
    ),
  json: <T>(call: Call) =>
    within(settings, call, (signal) =>
      attempts(settings, call, signal, (response) => response.json() as Promise<T>),
    ),
})

/** Runs a call under the caller's signal and the client's deadline, and names which of the two ended it. */
const within = async <T>(
  settings: Settings,
  call: Call,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> => {
  const deadlineMs = call.deadlineMs ?? (call.streamed === true ? undefined : settings.deadlineMs)
  // A plain controller, not AbortSignal.timeout: a stream's signal must stay alive after its headers came.
  const ended = new AbortController()
  const passed = (): void =>
    ended.abort(
      new AtollError(
        'deadline_client',
        `cannot ${call.act}: the client's deadline of ${deadlineMs} ms passed`,
      ),
    )
  const timer = deadlineMs === undefined ? undefined : setTimeout(passed, Math.min(deadlineMs, 2 ** 31 - 1))
  const signal = call.signal === undefined ? ended.signal : AbortSignal.any([call.signal, ended.signal])
  try {
    if (signal.aborted) throw errorFromAbort(signal, call.act)
    return await work(signal)
  } catch (error) {
    if (signal.aborted) throw errorFromAbort(signal, call.act)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

const attempts = async <T>(
  settings: Settings,
  call: Call,
  signal: AbortSignal,
  read: (response: Response) => Promise<T>,
): Promise<T> => {
  const request = requestOf(settings, call, signal)
  const repeatable = call.once !== true && !(call.body instanceof ReadableStream)
  for (let attempt = 0; ; attempt++) {
    let answered: { status: number; retryAfter: string | null } | undefined
    try {
      const response = await settings.fetch(request.url, request.init)
      if (response.ok) return await read(response)
      answered = { status: response.status, retryAfter: response.headers.get('retry-after') }
      throw await errorFromResponse(response, call.act)
    } catch (caught) {
      if (signal.aborted) throw errorFromAbort(signal, call.act)
      const error = isAtollError(caught) ? caught : errorFromFetch(caught, call.act, settings.baseUrl)
      const waitMs = waitBeforeRetry(error, attempt, answered)
      if (!repeatable || waitMs === undefined || attempt >= settings.retries) throw error
      await pause(waitMs, signal)
    }
  }
}

const requestOf = (
  settings: Settings,
  call: Call,
  signal: AbortSignal,
): { url: string; init: RequestInit } => {
  const headers: Record<string, string> = { accept: 'application/json', ...call.headers }
  if (settings.apiKey !== undefined) headers.authorization = `Bearer ${settings.apiKey}`
  if (call.json !== undefined) headers['content-type'] = 'application/json'
  if (call.method !== 'GET') headers['idempotency-key'] = call.idempotencyKey ?? newKey()
  const body = call.json === undefined ? call.body : JSON.stringify(call.json)
  const init: RequestInit & { duplex?: 'half' } = { method: call.method, headers, signal }
  if (body !== undefined) init.body = body
  if (body instanceof ReadableStream) init.duplex = 'half'
  return { url: `${settings.baseUrl}${call.path}${queryOf(call.query)}`, init }
}

const queryOf = (query: Call['query']): string => {
  const pairs = new URLSearchParams()
  for (const [name, value] of Object.entries(query ?? {}))
    if (value !== undefined) pairs.append(name, value === true ? '1' : value === false ? '0' : String(value))
  const text = pairs.toString()
  return text === '' ? '' : `?${text}`
}
