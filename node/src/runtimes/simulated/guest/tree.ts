import { AtollError, type Entry } from '@atoll/protocol'

/** A file or directory in memory. Of links and devices the simulated guest has none. */
export type TreeNode = FileNode | DirectoryNode
interface Attributes {
  mode: number
  uid: number
  gid: number
  modifiedMs: number
}
export interface FileNode extends Attributes {
  readonly type: 'file'
  data: Uint8Array
}
export interface DirectoryNode extends Attributes {
  readonly type: 'directory'
  readonly entries: Map<string, TreeNode>
}

/** A file system in memory: what a simulated sandbox keeps when it is stopped. */
export interface Tree {
  root: DirectoryNode
  usedBytes: number
  limitBytes: number
}

/** The users that the simulated image has. */
export const users: Readonly<Record<string, { uid: number; home: string }>> = {
  root: { uid: 0, home: '/root' },
  user: { uid: 1000, home: '/home/user' },
}

/** An empty image: the directories that programs expect. */
export const makeTree = (limitBytes: number, nowMs: number): Tree => {
  const tree: Tree = { root: makeDirectory(0o755, 0, nowMs), usedBytes: 0, limitBytes }
  for (const path of ['/bin', '/etc', '/home', '/home/user', '/root', '/tmp', '/usr', '/var'])
    attach(tree, path, makeDirectory(0o755, path === '/home/user' ? 1000 : 0, nowMs))
  return tree
}

export const makeDirectory = (mode: number, uid: number, nowMs: number): DirectoryNode => ({
  type: 'directory',
  entries: new Map(),
  mode,
  uid,
  gid: uid,
  modifiedMs: nowMs,
})

/** Absolute and without `.` and `..`; relative paths start at `base`. */
export const normalPath = (path: string, base: string): string => {
  const parts: string[] = []
  for (const part of (path.startsWith('/') ? path : `${base}/${path}`).split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}

/** The node at a normal path, if there is one. */
export const find = (tree: Tree, path: string): TreeNode | undefined => {
  let node: TreeNode | undefined = tree.root
  for (const part of path.split('/')) {
    if (part === '') continue
    node = node?.type === 'directory' ? node.entries.get(part) : undefined
  }
  return node
}

export const findOrThrow = (tree: Tree, path: string): TreeNode => {
  const node = find(tree, path)
  if (node === undefined) throw new AtollError('path_not_found', `${path}: no such file or directory`)
  return node
}

export const findFile = (tree: Tree, path: string): FileNode => {
  const node = findOrThrow(tree, path)
  if (node.type !== 'file') throw new AtollError('not_a_file', `${path}: is a directory`)
  return node
}

export const findDirectory = (tree: Tree, path: string): DirectoryNode => {
  const node = findOrThrow(tree, path)
  if (node.type !== 'directory') throw new AtollError('not_a_directory', `${path}: is no directory`)
  return node
}

/** Parent and name of a normal path. */
export const splitPath = (path: string): { parent: string; name: string } => {
  const at = path.lastIndexOf('/')
  return { parent: path.slice(0, at) || '/', name: path.slice(at + 1) }
}

/** Puts a node at a path whose parent exists, in place of what was there; refuses beyond the disk's size. */
export const attach = (tree: Tree, path: string, node: TreeNode): void => {
  const { parent, name } = splitPath(path)
  const directory = findDirectory(tree, parent)
  const before = directory.entries.get(name)
  const used = tree.usedBytes + sizeOf(node) - (before === undefined ? 0 : sizeOf(before))
  if (used > tree.limitBytes)
    throw new AtollError('disk_full', `${path}: the disk of ${tree.limitBytes} bytes is full`)
  tree.usedBytes = used
  directory.entries.set(name, node)
  directory.modifiedMs = node.modifiedMs
}

/** Takes the node at a path out; answers how many entries went. */
export const detach = (tree: Tree, path: string): number => {
  const node = findOrThrow(tree, path)
  const { parent, name } = splitPath(path)
  findDirectory(tree, parent).entries.delete(name)
  tree.usedBytes -= sizeOf(node)
  return countOf(node)
}

const entryBytes = 256
const sizeOf = (node: TreeNode): number => {
  if (node.type === 'file') return entryBytes + node.data.byteLength
  let bytes = entryBytes
  for (const child of node.entries.values()) bytes += sizeOf(child)
  return bytes
}
const countOf = (node: TreeNode): number => {
  let count = 1
  if (node.type === 'directory') for (const child of node.entries.values()) count += countOf(child)
  return count
}

/** How the API shows a node. */
export const entryOf = (path: string, node: TreeNode): Entry => {
  const owner = Object.entries(users).find(([, user]) => user.uid === node.uid)?.[0] ?? String(node.uid)
  return {
    path,
    name: splitPath(path).name,
    type: node.type,
    size: node.type === 'file' ? node.data.byteLength : 0,
    mode: node.mode,
    uid: node.uid,
    gid: node.gid,
    user: owner,
    group: owner,
    modifiedMs: node.modifiedMs,
    target: null,
  }
}
