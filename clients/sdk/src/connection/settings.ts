import { AtollError } from '@atoll/protocol'

/** The part of the WebSocket interface that a terminal needs; the platform's own or `ws` both fit. */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  send(data: string | Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'open' | 'close' | 'error' | 'message', listener: (event: never) => void): void
}
export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocketLike

/** What a client may be told. Absent: ATOLL_URL and ATOLL_API_KEY where there is an environment. */
export interface AtollOptions {
  readonly baseUrl?: string | undefined
  readonly apiKey?: string | undefined
  readonly fetch?: typeof globalThis.fetch | undefined
  /** For terminals on platforms without a WebSocket of their own (Node 20): the one of `ws`. */
  readonly WebSocket?: WebSocketConstructor | undefined
  /** Tries after the first one, for failures that a retry can help. Default 4. */
  readonly retries?: number | undefined
  /** The client's own deadline for a call that is no stream, retries included. Default 120,000. */
  readonly deadlineMs?: number | undefined
}

export interface Settings {
  readonly baseUrl: string
  readonly apiKey: string | undefined
  readonly fetch: typeof globalThis.fetch
  readonly WebSocket: WebSocketConstructor | undefined
  readonly retries: number
  readonly deadlineMs: number
}

/** Where `atoll up` listens. */
export const defaultBaseUrl = 'http://127.0.0.1:7171'
const defaultRetries = 4
const maxRetries = 20
const defaultDeadlineMs = 120_000

/** Options, then environment, then defaults; refuses what could never work. */
export const resolveSettings = (options: AtollOptions): Settings => {
  const env = environment()
  const baseUrl = (options.baseUrl ?? env.ATOLL_URL ?? defaultBaseUrl).replace(/\/+$/, '')
  if (!/^https?:\/\/[^/]+/.test(baseUrl))
    throw new AtollError(
      'invalid_request',
      `cannot use ${JSON.stringify(baseUrl)} as the base URL: it needs http:// or https://`,
    )
  const retries = options.retries ?? defaultRetries
  if (!Number.isInteger(retries) || retries < 0 || retries > maxRetries)
    throw new AtollError('invalid_request', `cannot retry ${retries} times: give 0 to ${maxRetries}`)
  const platform = (globalThis as { WebSocket?: unknown }).WebSocket as WebSocketConstructor | undefined
  return {
    baseUrl,
    apiKey: options.apiKey ?? env.ATOLL_API_KEY,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
    WebSocket: options.WebSocket ?? platform,
    retries,
    deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
  }
}

const environment = (): { ATOLL_URL?: string | undefined; ATOLL_API_KEY?: string | undefined } => {
  const { process } = globalThis as {
    process?: { env?: { ATOLL_URL?: string | undefined; ATOLL_API_KEY?: string | undefined } }
  }
  return process?.env ?? {}
}
