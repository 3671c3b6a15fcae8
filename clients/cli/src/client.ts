import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Atoll, AtollError } from '@atoll/sdk'

/** Where `atoll up` leaves address and key for the CLI on the same machine. */
export const configPath = (env: NodeJS.ProcessEnv): string =>
  join(env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config'), 'atoll', 'config.json')

/** ATOLL_URL and ATOLL_API_KEY, else the local configuration. */
export const openClient = (env: NodeJS.ProcessEnv): Atoll => {
  const local = readConfig(configPath(env))
  const apiKey = env['ATOLL_API_KEY'] ?? local.apiKey
  if (apiKey === undefined)
    throw new AtollError(
      'unauthenticated',
      `no API key: ATOLL_API_KEY is not set and ${configPath(env)} has none; start \`atoll up\` here, or set ATOLL_URL and ATOLL_API_KEY`,
    )
  return new Atoll({ baseUrl: env['ATOLL_URL'] ?? local.url, apiKey })
}

const readConfig = (path: string): { url?: string | undefined; apiKey?: string | undefined } => {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new AtollError('permission_denied', `cannot read ${path}: ${(error as Error).message}`)
  }
  try {
    const { url, apiKey } = JSON.parse(text) as Record<string, unknown>
    return {
      url: typeof url === 'string' ? url : undefined,
      apiKey: typeof apiKey === 'string' ? apiKey : undefined,
    }
  } catch {
    throw new AtollError(
      'invalid_request',
      `cannot read ${path}: it is no JSON; delete it and start \`atoll up\` again`,
    )
  }
}
