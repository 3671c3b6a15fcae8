import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/** What the small image can run: the host's own programs with the libraries that they need. */
const programs = [
  '/bin/dash',
  '/bin/cat',
  '/bin/ls',
  '/bin/mkdir',
  '/bin/date',
  '/bin/sleep',
  '/bin/tar',
  '/usr/bin/id',
]

/** The config that the image carries. */
export const smallConfig = {
  Env: ['PATH=/bin:/usr/bin', 'GREETING=from the image'],
  User: 'nobody',
  WorkingDir: '/srv',
  Cmd: ['/bin/sh'],
} as const

/** Makes the folders of a small root filesystem: a shell, an account file, and what the layers play with. */
export const makeSmallRoot = (root: string): void => {
  for (const folder of ['bin', 'usr/bin', 'etc', 'srv', 'opt/dir', 'tmp'])
    mkdirSync(join(root, folder), { recursive: true })
  for (const program of programs) {
    place(root, program)
    for (const library of librariesOf(program)) place(root, library)
  }
  symlinkSync('dash', join(root, 'bin/sh'))
  writeFileSync(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/srv:/bin/sh\n',
  )
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
  writeFileSync(join(root, 'etc/marker'), 'lower\n')
  writeFileSync(join(root, 'etc/removed'), 'must not be seen\n')
  writeFileSync(join(root, 'opt/dir/hidden'), 'must not be seen\n')
}

/** Makes the second layer: a file changed, one removed, a folder made opaque. */
export const makeUpperLayer = (root: string): void => {
  for (const folder of ['etc', 'opt/dir']) mkdirSync(join(root, folder), { recursive: true })
  writeFileSync(join(root, 'etc/marker'), 'upper\n')
  writeFileSync(join(root, 'etc/.wh.removed'), '')
  writeFileSync(join(root, 'opt/dir/.wh..wh..opq'), '')
  writeFileSync(join(root, 'opt/dir/seen'), 'new\n')
}

/** A tar of a folder's content, owned by root. */
export const tarOf = (folder: string): Buffer =>
  execFileSync('tar', ['--create', '--owner=0', '--group=0', '--numeric-owner', '--directory', folder, '.'], {
    maxBuffer: 256 * 1024 ** 2,
  })

/** Writes an OCI image layout with these layers (tars, sent as gzip), and answers the manifest's digest. */
export const writeLayout = (folder: string, layers: readonly Buffer[], config: object): string => {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  const put = (bytes: Buffer, mediaType: string) => {
    const hex = sha256(bytes)
    writeFileSync(join(folder, 'blobs/sha256', hex), bytes)
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
  }
  const packed = layers.map((layer) => put(gzipSync(layer), 'application/vnd.oci.image.layer.v1.tar+gzip'))
  const image = {
    architecture: 'amd64',
    os: 'linux',
    config,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: put(Buffer.from(JSON.stringify(image)), 'application/vnd.oci.image.config.v1+json'),
    layers: packed,
  }
  const described = put(Buffer.from(JSON.stringify(manifest)), manifest.mediaType)
  const index = {
    schemaVersion: 2,
    manifests: [{ ...described, platform: { architecture: 'amd64', os: 'linux' } }],
  }
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index))
  writeFileSync(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  return described.digest
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const librariesOf = (program: string): string[] =>
  execFileSync('ldd', [program], { encoding: 'utf8' })
    .split('\n')
    .map((line) => /(\/\S+)/.exec(line)?.[1])
    .filter((path) => path !== undefined)

const place = (root: string, path: string): void => {
  const target = join(root, path)
  mkdirSync(dirname(target), { recursive: true })
  copyFileSync(realpathSync(path), target)
  if (!statSync(target).isFile()) throw new Error(`cannot place ${basename(path)} into the small image`)
}
