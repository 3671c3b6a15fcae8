import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { type Atoll, AtollError, type BuildSource } from '@atoll/sdk'
import { hashedTarOf, sha256OfFile } from '../../local/archive.ts'
import type { Progress } from '../../output/progress.ts'

export interface SourceFlags {
  readonly username?: string
  readonly passwordStdin?: boolean
  readonly plainHttp?: boolean
}

/**
 * What `--from` names: `tar:<file>` and `oci:<archive or layout folder>` are sent from here, `registry:<reference>`
 * is pulled by the server, anything else is a template.
 */
export const resolveSource = async (
  atoll: Atoll,
  from: string,
  flags: SourceFlags,
  shown: Progress,
): Promise<BuildSource> => {
  const [, kind, rest] = /^(tar|oci|registry):(.+)$/.exec(from) ?? []
  if (rest === undefined) return { type: 'template', name: from }
  if (kind === 'registry') return registrySource(rest, flags)
  shown.say(`sending ${rest}`)
  const upload = await send(atoll, rest)
  return kind === 'tar' ? { type: 'tar', upload } : { type: 'oci', upload }
}

const registrySource = async (reference: string, flags: SourceFlags): Promise<BuildSource> => {
  const plainHttp = flags.plainHttp === true
  if (flags.username === undefined) return { type: 'registry', reference, plainHttp }
  // Not an option: what is on a command line can be read by every user of this machine.
  const password = flags.passwordStdin === true ? await readStdin() : process.env['ATOLL_REGISTRY_PASSWORD']
  if (password === undefined)
    throw new AtollError(
      'invalid_request',
      '--username needs a password: give --password-stdin, or set ATOLL_REGISTRY_PASSWORD',
    )
  return { type: 'registry', reference, plainHttp, username: flags.username, password }
}

const readStdin = async (): Promise<string> => {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) text += String(chunk)
  return text.replace(/\r?\n$/, '')
}

/** Sends an archive, or an OCI layout folder as one; answers its hash. */
const send = async (atoll: Atoll, path: string): Promise<string> => {
  const found = await stat(path).catch((error: Error) => {
    throw new AtollError('invalid_request', `cannot send ${path}: ${error.message}`)
  })
  if (found.isDirectory()) {
    await using packed = await hashedTarOf(path, ['.'])
    return await sendFile(atoll, packed.path, packed.sha256)
  }
  return await sendFile(atoll, path, await sha256OfFile(path))
}

/** Sends a file under its hash. */
export const sendFile = async (atoll: Atoll, path: string, sha256: string): Promise<string> => {
  await atoll.templates.upload(createReadStream(path), { sha256 })
  return sha256
}
