/** For tests: a store of its own with the real jailed helper, and archives made by the real tools. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { ImageRecord } from './image-record.ts'
import { type ImageStore, openImageStore } from './image-store.ts'
import { removeTree } from './remove-tree.ts'

const run = promisify(execFile)

const unpackerPath = resolve(
  import.meta.dirname,
  '../../unpacker/target/x86_64-unknown-linux-gnu/release/atoll-unpack',
)

/** Why these tests cannot run here; undefined when they can. */
export const whyNot = (): string | undefined => {
  if (process.getuid?.() !== 0) return 'the jail maps ids: run as root'
  if (!existsSync(unpackerPath)) return `${unpackerPath} is missing: cargo build --release in node/unpacker`
  if (!existsSync('/usr/bin/mkfs.erofs')) return 'mkfs.erofs is missing: apt-get install erofs-utils'
  return undefined
}

export interface TestStore extends AsyncDisposable {
  readonly store: ImageStore
  /** A folder for the test's own files, gone with the store. */
  readonly folder: string
}

export const openTestStore = async (options: { blobCacheBytes?: number } = {}): Promise<TestStore> => {
  const folder = await mkdtemp(join(tmpdir(), 'atoll-images-'))
  const agentPath = join(folder, 'agent')
  await writeFile(agentPath, 'stands for the agent')
  const store = await openImageStore({
    dataDirectory: join(folder, 'data'),
    unpackerPath,
    agentPath,
    ...options,
  })
  return { store, folder, [Symbol.asyncDispose]: () => removeTree(folder) }
}

/** A tar of these files by the system's tar; names that end with a slash are folders. */
export const tarOf = async (
  folder: string,
  files: Readonly<Record<string, string>>,
  flags: string[] = [],
) => {
  const tree = await mkdtemp(join(folder, 'tree-'))
  for (const [name, content] of Object.entries(files)) {
    const path = join(tree, name)
    await mkdir(name.endsWith('/') ? path : dirname(path), { recursive: true })
    if (!name.endsWith('/')) await writeFile(path, content)
  }
  const archive = `${tree}.tar`
  await run('tar', ['-C', tree, '--owner=0', '--group=0', ...flags, '-cf', archive, '.'])
  return archive
}

/** Everything in an image as `path: content`, read by fsck.erofs, which is nobody of ours. */
export const contentOf = async (test: TestStore, image: ImageRecord): Promise<Record<string, string>> => {
  const target = await mkdtemp(join(test.folder, 'extract-'))
  const path = join(test.store.templatesDirectory, `${image.rootfs.digest}.erofs`)
  await run('fsck.erofs', [`--extract=${target}`, '--overwrite', path])
  const { stdout } = await run('find', [target, '-type', 'f', '-printf', '%P\\n'])
  const content: Record<string, string> = {}
  for (const name of stdout.trim().split('\n').toSorted()) {
    content[name] = (await run('cat', [join(target, name)])).stdout
  }
  return content
}

/** Nothing half-made is left. */
export const leftovers = (test: TestStore): Promise<string[]> => readdir(test.store.stagingDirectory)
