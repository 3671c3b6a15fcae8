import { randomBytes } from 'node:crypto'
import { rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ImageStore, readIfThere } from './image-store.ts'

/**
 * A file's bytes were found to be those of its hash while it was this inode, of this size, with these times. What
 * writes to it through the kernel moves its time of change; who sets that back by hand, or a disk that rots, is not
 * noticed before the file is hashed again. Without `ctime`, which a hard link to the file moves, too.
 */
export const identityOf = async (path: string): Promise<string | undefined> => {
  const found = await stat(path, { bigint: true }).catch(() => undefined)
  if (found === undefined) return undefined
  return [found.ino, found.size, found.mtimeNs, found.birthtimeNs].join(':')
}

/** Where it is kept: hashing `base` takes a second or more, and a daemon starts often. */
export const verifiedPath = (store: ImageStore, digest: string): string =>
  join(store.templatesDirectory, `${digest}.verified`)

/** True when the file was hashed as it is now, by this daemon or a former one. */
export const isVerified = async (
  store: ImageStore,
  { digest, sha256 }: { readonly digest: string; readonly sha256: string },
  identity: string,
): Promise<boolean> => {
  const line = `${sha256} ${identity}\n`
  if (store.verified.get(digest) === line) return true
  if ((await readIfThere(verifiedPath(store, digest))) !== line) return false
  store.verified.set(digest, line)
  return true
}

/** Remembers a hash that was just computed. */
export const rememberVerified = async (
  store: ImageStore,
  { digest, sha256 }: { readonly digest: string; readonly sha256: string },
  identity: string,
): Promise<void> => {
  const line = `${sha256} ${identity}\n`
  store.verified.set(digest, line)
  const temporary = join(store.stagingDirectory, `${digest}-${randomBytes(8).toString('hex')}`)
  await writeFile(temporary, line, { mode: 0o600 })
  await rename(temporary, verifiedPath(store, digest))
}
