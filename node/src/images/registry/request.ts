import { setTimeout as delay } from 'node:timers/promises'
import { AtollError } from '@atoll/protocol'
import { imageLimits } from '../limits.ts'
import { type RegistryCredentials, authorize } from './authorize.ts'
import { isLoopback } from './reference.ts'

/** How a registry is spoken with. */
export interface RegistryOptions {
  readonly credentials?: RegistryCredentials
  /** Plain HTTP to a host that is not this machine. */
  readonly plainHttp?: boolean
  readonly fetch?: typeof fetch
}

/** A GET below one repository, with login, redirects and retries. */
export type RegistryRequest = (
  path: string,
  accept: readonly string[],
  signal: AbortSignal,
) => Promise<Response>

const retryBaseMs = 250

/** Requests to one repository of one registry. The login is found out once and kept. */
export const openRegistry = (host: string, repository: string, options: RegistryOptions): RegistryRequest => {
  const hostname = new URL(`http://${host}`).hostname
  const plain = options.plainHttp === true || isLoopback(hostname)
  const origin = `${plain ? 'http' : 'https'}://${host}`
  const send = options.fetch ?? fetch
  const checkUrl = (url: URL) => admit(url, plain)
  let authorization: string | undefined

  const follow = async (start: URL, accept: readonly string[], signal: AbortSignal): Promise<Response> => {
    let url = start
    for (let redirects = 0; redirects <= imageLimits.registryRedirects; redirects += 1) {
      checkUrl(url)
      const headers = new Headers(accept.map((type) => ['accept', type]))
      // A storage service that the registry sends us to gets no login of ours.
      if (authorization !== undefined && url.origin === origin) headers.set('authorization', authorization)
      const response = await send(url, { headers, signal, redirect: 'manual' })
      const location = response.headers.get('location')
      if (response.status < 300 || response.status >= 400 || location === null) return response
      await response.body?.cancel()
      const next = URL.parse(location, url.href)
      if (next === null)
        throw new AtollError('image_invalid', `${name(url)} redirects to no readable address`)
      url = next
    }
    throw new AtollError(
      'image_invalid',
      `${name(start)} redirects over ${imageLimits.registryRedirects} times`,
    )
  }

  const attempt = async (url: URL, accept: readonly string[], signal: AbortSignal): Promise<Response> => {
    const first = await follow(url, accept, signal)
    if (first.status !== 401) return first
    await first.body?.cancel()
    const found = await authorize(
      first,
      { credentials: options.credentials, repository, checkUrl, fetch: send },
      signal,
    )
    if (found === undefined) return first
    authorization = found
    return follow(url, accept, signal)
  }

  return async (path, accept, signal) => {
    const url = new URL(`/v2/${repository}/${path}`, origin)
    const response = await withRetries(url, signal, (inner) => attempt(url, accept, inner))
    if (response.ok) return response
    await response.body?.cancel()
    throw refusal(response.status, url)
  }
}

const withRetries = async (
  url: URL,
  signal: AbortSignal,
  attempt: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> => {
  for (let count = 1; ; count += 1) {
    const last = count >= imageLimits.registryAttempts
    try {
      const response = await withDeadline(url, signal, attempt)
      if (last || (response.status < 500 && response.status !== 429)) return response
      await response.body?.cancel()
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof AtollError && !error.retryable) throw error
      if (last) throw unreachable(url, error)
    }
    await delay(retryBaseMs * 2 ** count, undefined, { signal })
  }
}

/** The deadline is for the answer's head; the body has its own watch. */
const withDeadline = async (
  url: URL,
  signal: AbortSignal,
  attempt: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> => {
  const late = new AbortController()
  const timer = setTimeout(() => {
    late.abort(
      new AtollError(
        'node_unreachable',
        `${name(url)} did not answer in ${imageLimits.registryRequestMs} ms`,
      ),
    )
  }, imageLimits.registryRequestMs)
  try {
    return await attempt(AbortSignal.any([signal, late.signal]))
  } finally {
    clearTimeout(timer)
  }
}

/** No plain HTTP but where it was asked, and never the link-local addresses where clouds keep credentials. */
const admit = (url: URL, plain: boolean): void => {
  const secure =
    url.protocol === 'https:' || (url.protocol === 'http:' && (plain || isLoopback(url.hostname)))
  if (!secure) {
    throw new AtollError('invalid_request', `${name(url)} is plain HTTP; ask for plainHttp to allow it`)
  }
  if (url.hostname.startsWith('169.254.') || /^\[fe[89ab]/i.test(url.hostname) || url.username !== '') {
    throw new AtollError('forbidden', `${name(url)} is no address for a registry`)
  }
}

const refusal = (status: number, url: URL): AtollError => {
  if (status === 401 || status === 403) {
    return new AtollError(
      'forbidden',
      `${name(url)} refused with ${status}; check the credentials for this image`,
    )
  }
  if (status === 404)
    return new AtollError('not_found', `${name(url)} is not in the registry; check the reference`)
  return new AtollError('image_invalid', `${name(url)} answered ${status}`, {
    retryable: status >= 500 || status === 429,
  })
}

const unreachable = (url: URL, cause: unknown): AtollError =>
  cause instanceof AtollError
    ? cause
    : new AtollError(
        'stream_broken',
        `cannot reach ${name(url)}; check the host name and that it speaks ${url.protocol.slice(0, -1)}`,
        {
          cause,
        },
      )

/** A URL without query and login: signed addresses carry secrets there. */
const name = (url: URL): string => `${url.origin}${url.pathname}`.slice(0, 512)
