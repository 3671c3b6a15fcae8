import { AtollError, type Entry, type Written } from '@atoll/protocol'
import { type BodySource, bodyOf, sha256Of } from '../connection/bytes.ts'
import { checkedBody } from '../connection/checked-body.ts'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { readFile, readFileStream, type ReadOptions } from './read.ts'
import { watchPath, type WatchOptions, type WatchedChange } from './watch.ts'

/** Who acts inside, on top of the call's own options. Default: the sandbox's user. */
export interface FileOptions extends CallOptions {
  readonly user?: string | undefined
}

export interface WriteOptions extends FileOptions {
  /** Permission bits, like 0o755. Default: the old ones, or 0644. */
  readonly mode?: number | undefined
  /** Makes missing directories above. */
  readonly parents?: boolean | undefined
}

/** Files of one sandbox. Paths are absolute, or relative to the user's home. */
export interface Files {
  read(path: string, options?: ReadOptions): Promise<Uint8Array<ArrayBuffer>>
  readText(path: string, options?: ReadOptions): Promise<string>
  /** Bytes as they come; fails with `stream_broken` when fewer come than were announced. */
  readStream(path: string, options?: ReadOptions): Promise<ReadableStream<Uint8Array>>
  /** Atomic: the old content or all of the new. The receipt is what the guest read back. */
  write(path: string, data: BodySource, options?: WriteOptions): Promise<Written>
  /** Does not follow a symlink at the end of the path. */
  stat(path: string, options?: FileOptions): Promise<Entry>
  exists(path: string, options?: FileOptions): Promise<boolean>
  list(path: string, options?: FileOptions & { depth?: number; limit?: number }): Promise<Listing>
  move(from: string, to: string, options?: FileOptions & { overwrite?: boolean }): Promise<Entry>
  remove(path: string, options?: FileOptions & { recursive?: boolean }): Promise<{ removed: number }>
  makeDirectory(path: string, options?: FileOptions & { mode?: number; parents?: boolean }): Promise<Entry>
  /** Changes below a path, until the loop is left. Begins with `ready`. */
  watch(path: string, options?: WatchOptions): AsyncGenerator<WatchedChange, void, undefined>
  /** A tar (pax) of a file, or of what is in a directory. */
  download(path: string, options?: FileOptions): Promise<ReadableStream<Uint8Array>>
  /** Unpacks a tar below a directory: nothing that is in it can leave that directory. */
  upload(path: string, tar: BodySource, options?: FileOptions): Promise<{ entries: number; bytes: number }>
}

export interface Listing {
  readonly entries: readonly Entry[]
  /** True when there are more than `limit`. */
  readonly truncated: boolean
}

/** Hashing more than this at once would hold up a browser; longer bodies are checked by size. */
const maxHashedBytes = 64 * 1024 * 1024

export const filesOf = (connection: Connection, sandbox: string): Files => {
  const base = `/v1/sandboxes/${sandbox}`
  const post = <T>(verb: string, act: string, json: object, options: FileOptions): Promise<T> =>
    connection.json<T>({
      method: 'POST',
      path: `${base}/files/${verb}`,
      json: options.user === undefined ? json : { ...json, user: options.user },
      act,
      signal: options.signal,
      deadlineMs: options.deadlineMs,
    })
  const get = <T>(verb: string, act: string, query: Query, options: FileOptions): Promise<T> =>
    connection.json<T>({
      method: 'GET',
      path: `${base}/files/${verb}`,
      query: { ...query, user: options.user },
      act,
      signal: options.signal,
      deadlineMs: options.deadlineMs,
    })
  const stat = (path: string, options: FileOptions = {}): Promise<Entry> =>
    get('stat', `look at ${path}`, { path }, options)
  return {
    read: (path, options = {}) => readFile(connection, base, path, options),
    readText: async (path, options = {}) =>
      new TextDecoder().decode(await readFile(connection, base, path, options)),
    readStream: (path, options = {}) => readFileStream(connection, base, path, options),
    write: (path, data, options = {}) => write(connection, base, path, data, options),
    stat,
    exists: (path, options = {}) => stat(path, options).then(() => true, absentIsFalse),
    list: (path, { depth, limit, ...options } = {}) =>
      get('list', `list ${path}`, { path, depth, limit }, options),
    move: (from, to, { overwrite = false, ...options } = {}) =>
      post('move', `move ${from} to ${to}`, { from, to, overwrite }, options),
    remove: (path, { recursive = false, ...options } = {}) =>
      post('remove', `remove ${path}`, { path, recursive }, options),
    makeDirectory: (path, { mode, parents = false, ...options } = {}) =>
      post('make', `make ${path}`, mode === undefined ? { path, parents } : { path, parents, mode }, options),
    watch: (path, options = {}) => watchPath(connection, base, path, options),
    download: (path, options = {}) => downloadTar(connection, base, path, options),
    upload: (path, tar, options = {}) => uploadTar(connection, base, path, tar, options),
  }
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>

const absentIsFalse = (error: unknown): false => {
  if (error instanceof AtollError && error.code === 'path_not_found') return false
  throw error
}

const write = async (
  connection: Connection,
  base: string,
  path: string,
  data: BodySource,
  options: WriteOptions,
): Promise<Written> => {
  const body = await bodyOf(data)
  const bytes = body instanceof Uint8Array ? body : undefined
  const hash = bytes === undefined || bytes.length > maxHashedBytes ? undefined : await sha256Of(bytes)
  const written = await connection.json<Written>({
    method: 'PUT',
    path: `${base}/files`,
    query: {
      path,
      user: options.user,
      mode: options.mode?.toString(8).padStart(4, '0'),
      parents: options.parents,
    },
    headers: {
      'content-type': 'application/octet-stream',
      ...(hash === undefined ? {} : { 'x-atoll-sha256': hash }),
    },
    body,
    act: `write ${path}`,
    signal: options.signal,
    ...uploadDeadline(options),
  })
  if (bytes !== undefined && written.size !== bytes.length)
    throw new AtollError(
      'hash_mismatch',
      `cannot write ${path}: ${bytes.length} bytes were sent and ${written.size} are there; write it again`,
    )
  return written
}

/** A body may take as long as it moves: only the caller knows a deadline for it. */
const uploadDeadline = (options: CallOptions): { streamed: true; deadlineMs?: number } =>
  options.deadlineMs === undefined ? { streamed: true } : { streamed: true, deadlineMs: options.deadlineMs }

const downloadTar = async (
  connection: Connection,
  base: string,
  path: string,
  options: FileOptions,
): Promise<ReadableStream<Uint8Array>> => {
  const response = await connection.send({
    method: 'GET',
    path: `${base}/tar`,
    query: { path, user: options.user },
    headers: { accept: 'application/x-tar' },
    act: `download ${path}`,
    signal: options.signal,
    streamed: true,
  })
  return checkedBody(response, `download ${path}`, options.signal)
}

const uploadTar = async (
  connection: Connection,
  base: string,
  path: string,
  tar: BodySource,
  options: FileOptions,
): Promise<{ entries: number; bytes: number }> =>
  connection.json({
    method: 'PUT',
    path: `${base}/tar`,
    query: { path, user: options.user },
    headers: { 'content-type': 'application/x-tar' },
    body: await bodyOf(tar),
    act: `upload to ${path}`,
    signal: options.signal,
    ...uploadDeadline(options),
  })
