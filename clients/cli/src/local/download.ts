import { createWriteStream } from 'node:fs'
import { chmod, lstat, mkdir, rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AtollError, type Entry, type FileOptions, type Files } from '@atoll/sdk'
import type { Copied } from './upload.ts'

/** Entries of one folder that are asked for at once; a bigger one is refused, never cut. */
const maxEntriesOfFolder = 10_000
const maxDepth = 64

/**
 * A file, or a folder and what is below. Out of a sandbox comes hostile data (invariant 8), so no archive is unpacked
 * here: each name is looked at, folders and regular files are written, and links and devices are left out.
 */
export const downloadPath = async (
  files: Files,
  from: string,
  to: string,
  options: FileOptions,
): Promise<Copied> => {
  if (to.endsWith('.tar')) return await saveStream(await files.download(from, options), to, 0o644)
  const entry = await files.stat(from, options)
  if (entry.type === 'file') return await downloadFile(files, entry, to, options)
  if (entry.type !== 'directory')
    throw new AtollError(
      'not_a_file',
      `cannot copy ${from}: it is a ${entry.type}, and only files and folders can be copied`,
    )
  return await downloadFolder(files, entry.path, to, options, 0)
}

const downloadFolder = async (
  files: Files,
  from: string,
  to: string,
  options: FileOptions,
  depth: number,
): Promise<Copied> => {
  if (depth > maxDepth)
    throw new AtollError('payload_too_large', `cannot copy ${from}: over ${maxDepth} folders deep`)
  await makeFolder(to)
  const { entries, truncated } = await files.list(from, { ...options, depth: 1, limit: maxEntriesOfFolder })
  if (truncated)
    throw new AtollError(
      'payload_too_large',
      `cannot copy ${from}: it has over ${maxEntriesOfFolder} entries; copy it to a name that ends in .tar to get an archive`,
    )
  let [count, bytes] = [1, 0]
  for (const entry of entries) {
    const name = safeName(entry.name)
    const target = `${to}/${name}`
    const source = `${from.replace(/\/+$/, '')}/${name}`
    if (entry.type !== 'directory' && entry.type !== 'file') {
      process.stderr.write(`atoll: ${source} left out: it is a ${entry.type}\n`)
      continue
    }
    const copied =
      entry.type === 'file'
        ? await downloadFile(files, { ...entry, path: source }, target, options)
        : await downloadFolder(files, source, target, options, depth + 1)
    count += copied.entries
    bytes += copied.bytes
  }
  return { entries: count, bytes }
}

/** A name that stays where it is put. */
const safeName = (name: string): string => {
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
    throw new AtollError('invalid_request', `cannot copy an entry with the name ${JSON.stringify(name)}`)
  return name
}

/** Never through a link that an earlier copy, or anyone else, left there. */
const makeFolder = async (path: string): Promise<void> => {
  const found = await lstat(path).catch(() => undefined)
  if (found === undefined) await mkdir(path, { recursive: true })
  else if (!found.isDirectory())
    throw new AtollError('not_a_directory', `cannot copy into ${path}: it is no folder`)
}

/** Permission bits only: nothing that comes out of a sandbox is setuid here. */
const downloadFile = async (files: Files, entry: Entry, to: string, options: FileOptions): Promise<Copied> =>
  saveStream(await files.readStream(entry.path, options), to, entry.mode & 0o777)

/** Whole or not at all: into a new file beside, which then takes the name. */
const saveStream = async (stream: ReadableStream<Uint8Array>, to: string, mode: number): Promise<Copied> => {
  const temporary = `${to}.atoll-${process.pid}`
  let bytes = 0
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of Readable.fromWeb(stream as never)) {
      bytes += (chunk as Uint8Array).length
      yield chunk as Uint8Array
    }
  }
  try {
    await pipeline(counted(), createWriteStream(temporary, { flags: 'wx', mode: 0o600, flush: true }))
    await chmod(temporary, mode)
    await rename(temporary, to)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  return { entries: 1, bytes }
}
