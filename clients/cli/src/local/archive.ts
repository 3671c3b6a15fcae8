import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AtollError } from '@atoll/sdk'

/** Longest message of `tar` that is passed on, characters. */
const maxSaidLength = 2_000

/**
 * A tar of names below a folder, made by the system's own `tar`, in an order that does not depend on the disk, so
 * that the same files give the same archive and a build's cache can know them.
 */
export const tarOf = (
  folder: string,
  names: readonly string[],
): { stream: Readable; done: Promise<void> } => {
  const sameEverywhere = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner']
  const child = spawn('tar', [...sameEverywhere, '-C', folder, '-cf', '-', '--', ...names], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-maxSaidLength)
  })
  const done = new Promise<void>((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new AtollError('invalid_request', `cannot pack ${names.join(', ')} of ${folder}: ${why}`))
    child.once('error', (error) => fail(error.message))
    child.once('close', (code) => (code === 0 ? resolve() : fail(said.trim() || `tar ended with ${code}`)))
  })
  // Whoever reads the stream asks for `done` afterwards; until then a failure must not end the program.
  done.catch(() => undefined)
  return { stream: child.stdout, done }
}

/** The same in a temporary file, with its hash, for an upload that has to be named before it is sent. */
export const hashedTarOf = async (
  folder: string,
  names: readonly string[],
): Promise<{ path: string; sha256: string } & AsyncDisposable> => {
  const temporary = await mkdtemp(join(tmpdir(), 'atoll-context-'))
  const path = join(temporary, 'context.tar')
  const remove = (): Promise<void> => rm(temporary, { recursive: true, force: true })
  try {
    const { stream, done } = tarOf(folder, names)
    await pipeline(stream, createWriteStream(path, { mode: 0o600 }))
    await done
    return { path, sha256: await sha256OfFile(path), [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}

export const sha256OfFile = async (path: string): Promise<string> => {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}
