import { createHash } from 'node:crypto'
import { AtollError, type Entry, limits, makeSchema, moveSchema, removeSchema } from '@atoll/protocol'
import { answerJson, type Call, readAll, readBody } from './call.ts'
import {
  attach,
  detach,
  type DirectoryNode,
  entryOf,
  find,
  findDirectory,
  findFile,
  findOrThrow,
  makeDirectory,
  normalPath,
  splitPath,
  users,
} from './tree.ts'

/** Everything under /v1/files. */
export const fileRoutes = async (call: Call, verb: string | undefined): Promise<void> => {
  switch (`${call.method} ${verb ?? ''}`) {
    case 'GET ':
      return read(call)
    case 'PUT ':
      return await write(call)
    case 'GET stat': {
      const path = pathOf(call)
      return answerJson(call, 200, entryOf(path, findOrThrow(call.guest.tree, path)))
    }
    case 'GET list':
      return list(call)
    case 'POST move':
      return await move(call)
    case 'POST remove':
      return await remove(call)
    case 'POST make':
      return await make(call)
    default:
      throw new AtollError('unsupported', `${call.method} ${call.path}: the simulated runtime cannot do that`)
  }
}

const ownerOf = (call: Call, user?: string | null) => {
  const name = user ?? call.query.get('user') ?? call.guest.identity?.defaultUser ?? 'root'
  const owner = users[name]
  if (owner === undefined) throw new AtollError('invalid_request', `there is no user ${name}`)
  return owner
}

const pathOf = (call: Call, given = call.query.get('path'), user?: string): string => {
  if (given === null || given === '' || given.includes('\0') || given.length > limits.pathBytes)
    throw new AtollError('invalid_request', 'path must be 1 to 4096 bytes without NUL')
  return normalPath(given, ownerOf(call, user).home)
}

const read = (call: Call): void => {
  const path = pathOf(call)
  const node = findFile(call.guest.tree, path)
  const size = node.data.byteLength
  const range = /^bytes=(\d+)-(\d*)$/.exec(call.headers.range ?? '')
  const from = range === null ? 0 : Number(range[1])
  const to = range === null || range[2] === '' ? size : Math.min(size, Number(range[2]) + 1)
  if (range !== null && (from >= size || to <= from))
    throw new AtollError('range_not_satisfiable', `${path}: has ${size} bytes`)
  call.stream.respond({
    ':status': range === null ? 200 : 206,
    'content-length': to - from,
    'x-atoll-size': size,
    'x-atoll-mode': node.mode.toString(8).padStart(4, '0'),
    'x-atoll-modified-ms': node.modifiedMs,
    ...(range === null ? {} : { 'content-range': `bytes ${from}-${to - 1}/${size}` }),
  })
  call.stream.end(node.data.subarray(from, to))
}

const write = async (call: Call): Promise<void> => {
  const path = pathOf(call)
  const { tree } = call.guest
  const owner = ownerOf(call)
  const mode = call.query.get('mode')
  if (mode !== null && !/^[0-7]{1,4}$/.test(mode))
    throw new AtollError('invalid_request', `mode ${mode} is not octal`)
  if (call.query.get('parents') === '1') makeParents(call, path, owner.uid)
  findDirectory(tree, splitPath(path).parent)
  const before = find(tree, path)
  if (before?.type === 'directory') throw new AtollError('not_a_file', `${path}: is a directory`)
  const data = await readAll(call, tree.limitBytes)
  const sha256 = createHash('sha256').update(data).digest('hex')
  const wanted = call.headers['x-atoll-sha256']
  const size = call.headers['x-atoll-size']
  if ((wanted !== undefined && wanted !== sha256) || (size !== undefined && Number(size) !== data.byteLength))
    throw new AtollError(
      'hash_mismatch',
      `${path}: ${data.byteLength} bytes of ${sha256} came; nothing changed`,
    )
  attach(tree, path, {
    type: 'file',
    data,
    mode: mode === null ? (before?.mode ?? 0o644) : Number.parseInt(mode, 8),
    uid: before?.uid ?? owner.uid,
    gid: before?.gid ?? owner.uid,
    modifiedMs: call.guest.now(),
  })
  const now = findFile(tree, path)
  answerJson(call, 200, {
    path,
    size: now.data.byteLength,
    sha256,
    mode: now.mode,
    uid: now.uid,
    gid: now.gid,
  })
}

const makeParents = (call: Call, path: string, uid: number): void => {
  const { parent } = splitPath(path)
  if (find(call.guest.tree, parent) !== undefined) return
  makeParents(call, parent, uid)
  attach(call.guest.tree, parent, makeDirectory(0o755, uid, call.guest.now()))
}

const list = (call: Call): void => {
  const path = pathOf(call)
  const depth = Number(call.query.get('depth') ?? 1)
  const limit = Number(call.query.get('limit') ?? 1_000)
  if (!Number.isInteger(depth) || !Number.isInteger(limit) || depth < 1 || limit < 1)
    throw new AtollError('invalid_request', 'depth and limit are whole numbers from 1')
  const entries: Entry[] = []
  const visit = (at: string, directory: DirectoryNode, level: number): void => {
    for (const [name, node] of directory.entries) {
      if (entries.length > limit) return
      const child = `${at === '/' ? '' : at}/${name}`
      entries.push(entryOf(child, node))
      if (node.type === 'directory' && level < depth) visit(child, node, level + 1)
    }
  }
  visit(path, findDirectory(call.guest.tree, path), 1)
  answerJson(call, 200, { entries: entries.slice(0, limit), truncated: entries.length > limit })
}

const move = async (call: Call): Promise<void> => {
  const body = await readBody(call, moveSchema)
  const { tree } = call.guest
  const from = pathOf(call, body.from, body.user)
  const to = pathOf(call, body.to, body.user)
  const node = findOrThrow(tree, from)
  if (`${to}/`.startsWith(`${from}/`))
    throw new AtollError('invalid_request', `cannot move ${from} into itself`)
  if (find(tree, to) !== undefined && !body.overwrite)
    throw new AtollError('path_exists', `cannot move to ${to}: it exists; ask for overwrite`)
  findDirectory(tree, splitPath(to).parent)
  detach(tree, from)
  attach(tree, to, node)
  answerJson(call, 200, entryOf(to, node))
}

const remove = async (call: Call): Promise<void> => {
  const body = await readBody(call, removeSchema)
  const path = pathOf(call, body.path, body.user)
  const node = findOrThrow(call.guest.tree, path)
  if (path === '/') throw new AtollError('invalid_request', 'cannot remove /')
  if (node.type === 'directory' && node.entries.size > 0 && !body.recursive)
    throw new AtollError('directory_not_empty', `cannot remove ${path}: it has entries; ask for recursive`)
  answerJson(call, 200, { removed: detach(call.guest.tree, path) })
}

const make = async (call: Call): Promise<void> => {
  const body = await readBody(call, makeSchema)
  const path = pathOf(call, body.path, body.user)
  const { tree } = call.guest
  const { uid } = ownerOf(call, body.user)
  const before = find(tree, path)
  if (before !== undefined && (before.type !== 'directory' || !body.parents))
    throw new AtollError('path_exists', `cannot make ${path}: it exists`)
  if (body.parents) makeParents(call, path, uid)
  if (before === undefined) attach(tree, path, makeDirectory(body.mode, uid, call.guest.now()))
  answerJson(call, 200, entryOf(path, findOrThrow(tree, path)))
}
