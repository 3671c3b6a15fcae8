import { readFile, stat } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { AtollError } from '@atoll/protocol'

/** Ms between looks at whether the certificate's files are others. */
const reloadMs = 5_000

export interface TlsFiles {
  readonly certPath: string
  readonly keyPath: string
}

export interface KeyPair {
  readonly cert: Buffer
  readonly key: Buffer
}

/** `--tls-cert` and `--tls-key` go together. */
export const tlsFilesOf = (cert: string | undefined, key: string | undefined): TlsFiles | undefined => {
  if (cert === undefined && key === undefined) return undefined
  if (cert !== undefined && key !== undefined) return { certPath: cert, keyPath: key }
  throw new AtollError('invalid_request', 'cannot serve TLS: give --tls-cert and --tls-key together')
}

/** Reads a certificate and its key, and refuses a pair that does not fit. */
export const readKeyPair = async ({ certPath, keyPath }: TlsFiles): Promise<KeyPair> => {
  try {
    const [cert, key] = await Promise.all([readFile(certPath), readFile(keyPath)])
    createSecureContext({ cert, key })
    return { cert, key }
  } catch (error) {
    // The text of OpenSSL names the fault and no part of the key.
    const why = error instanceof Error ? error.message : String(error)
    throw new AtollError(
      'invalid_request',
      `cannot serve TLS with ${certPath} and ${keyPath}: ${why}; give a PEM certificate chain and its key`,
    )
  }
}

/**
 * Calls back with each new pair. By looking, not by watching: renewals replace files, links and folders in more ways
 * than a watch survives. A pair that does not fit yet is looked at again; the former one stays in force.
 */
export const followKeyPair = (
  files: TlsFiles,
  onPair: (pair: KeyPair) => void,
  onFault: (error: unknown) => void,
  everyMs = reloadMs,
): AsyncDisposable => {
  let seen: string | undefined
  let faulty: string | undefined
  let running: Promise<void> | undefined
  const look = async (): Promise<void> => {
    const now = await stampOf(files)
    if (seen === undefined) seen = now
    if (now === seen) return
    try {
      onPair(await readKeyPair(files))
      seen = now
    } catch (error) {
      if (faulty !== now) onFault(error)
      faulty = now
    }
  }
  const run = (): void =>
    void (running ??= look()
      .catch(onFault)
      .finally(() => void (running = undefined)))
  const timer = setInterval(run, everyMs)
  timer.unref()
  run()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}

const stampOf = async ({ certPath, keyPath }: TlsFiles): Promise<string> => {
  const stamps = await Promise.all([certPath, keyPath].map((path) => stat(path).catch(() => undefined)))
  return stamps
    .map((found) => (found === undefined ? 'none' : `${found.ino} ${found.size} ${found.mtimeMs}`))
    .join(' ')
}
