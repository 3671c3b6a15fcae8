import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { AtollError, type FileOptions, type Files } from '@atoll/sdk'
import { tarOf } from './archive.ts'

export interface Copied {
  readonly entries: number
  readonly bytes: number
}

/** A file by itself, a folder as one tar that the sandbox unpacks. */
export const uploadPath = async (
  files: Files,
  from: string,
  to: string,
  options: FileOptions,
): Promise<Copied> => {
  const local = await stat(from).catch((error: Error) => {
    throw new AtollError('invalid_request', `cannot copy ${from}: ${error.message}`)
  })
  const target = await targetOf(files, from, to, options)
  if (local.isDirectory()) {
    await files.makeDirectory(target, { ...options, parents: true })
    const { stream, done } = tarOf(from, ['.'])
    const unpacked = await files.upload(target, stream, options)
    await done
    return unpacked
  }
  if (!local.isFile())
    throw new AtollError('invalid_request', `cannot copy ${from}: it is no file and no folder`)
  const mode = local.mode & 0o777
  const written = await files.write(target, createReadStream(from), { ...options, mode, parents: true })
  if (written.size !== local.size)
    throw new AtollError('precondition_failed', `${from} changed while it was copied: copy it again`)
  return { entries: 1, bytes: written.size }
}

/** Like cp: into a folder that is there, under its own name; else under the name that is given. */
const targetOf = async (files: Files, from: string, to: string, options: FileOptions): Promise<string> => {
  const name = basename(from)
  if (to.endsWith('/') || to === '.') return `${to.replace(/\/+$/, '')}/${name}`
  if (!(await files.exists(to, options))) return to
  return (await files.stat(to, options)).type === 'directory' ? `${to}/${name}` : to
}
