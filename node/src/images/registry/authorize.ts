import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import { type Challenge, parseChallenge } from './challenge.ts'

/** A login at a registry. It goes to that registry and its token service, never into a log or an error. */
export interface RegistryCredentials {
  readonly username: string
  readonly password: string
}

/** What the token service is asked with. */
export interface AuthorizeOptions {
  readonly credentials: RegistryCredentials | undefined
  readonly repository: string
  /** Refuses addresses that credentials must not go to. */
  readonly checkUrl: (url: URL) => void
  readonly fetch: typeof fetch
}

const tokenBytes = 64 * 1024
const tokenSchema = z
  .object({ token: z.string().optional(), access_token: z.string().optional() })
  .transform((body) => body.token ?? body.access_token)
  .pipe(z.string().min(1).max(tokenBytes))

/** The Authorization header that answers a 401; undefined when there is nothing more to try. */
export const authorize = async (
  response: Response,
  options: AuthorizeOptions,
  signal: AbortSignal,
): Promise<string | undefined> => {
  const challenge = parseChallenge(response.headers.get('www-authenticate'))
  if (challenge === undefined) return undefined
  if (challenge.scheme === 'bearer') return `Bearer ${await fetchToken(challenge, options, signal)}`
  return options.credentials === undefined ? undefined : basic(options.credentials)
}

const fetchToken = async (
  challenge: Extract<Challenge, { scheme: 'bearer' }>,
  options: AuthorizeOptions,
  signal: AbortSignal,
): Promise<string> => {
  const url = URL.parse(challenge.realm)
  if (url === null)
    throw new AtollError('image_invalid', "the registry's token service has no readable address")
  options.checkUrl(url)
  if (challenge.service !== undefined) url.searchParams.set('service', challenge.service)
  url.searchParams.set('scope', challenge.scope ?? `repository:${options.repository}:pull`)
  const headers: Record<string, string> =
    options.credentials === undefined ? {} : { authorization: basic(options.credentials) }
  // A redirect would carry the login to who knows whom.
  const response = await options.fetch(url, { headers, signal, redirect: 'error' })
  if (!response.ok) {
    await response.body?.cancel()
    const code = response.status === 401 || response.status === 403 ? 'forbidden' : 'image_invalid'
    throw new AtollError(
      code,
      `the registry's token service answered ${response.status}; check the credentials`,
    )
  }
  const token = tokenSchema.safeParse(await response.json().catch(() => undefined))
  if (!token.success)
    throw new AtollError('image_invalid', "the registry's token service gave no readable token")
  return token.data
}

const basic = ({ username, password }: RegistryCredentials): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
