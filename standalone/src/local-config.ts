import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** What the CLI on this machine reads when ATOLL_URL and ATOLL_API_KEY are not set. */
export interface LocalConfig {
  readonly url: string
  readonly apiKey: string
}

export const localConfigPath = (env: NodeJS.ProcessEnv): string =>
  join(env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config'), 'atoll', 'config.json')

/** Written whole or not at all, and readable by its owner only: it holds a key. */
export const writeLocalConfig = (path: string, config: LocalConfig): void => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600, flush: true })
  renameSync(temporary, path)
}

export const readLocalConfig = (path: string): LocalConfig | undefined => {
  try {
    const config = JSON.parse(readFileSync(path, 'utf8')) as Partial<LocalConfig>
    return typeof config.url === 'string' && typeof config.apiKey === 'string'
      ? { url: config.url, apiKey: config.apiKey }
      : undefined
  } catch {
    // Not there, or not ours: the CLI says what to set when it needs a key.
    return undefined
  }
}
