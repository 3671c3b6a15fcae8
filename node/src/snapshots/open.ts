import { constants } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, type RuntimeName } from '@atoll/protocol'
import { guestGeneration } from '../guest/calls.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { cpuMismatch } from './cpu-fingerprint.ts'
import { hashOpenFile } from './hash.ts'
import { snapshotLimits } from './limits.ts'
import { digestOf, type Manifest, manifestName, parseManifest } from './manifest.ts'
import { removeSnapshotFiles } from './remove.ts'
import { identityOf, remember, snapshotFolder, type SnapshotStore } from './store.ts'

/** What a memory image must fit: the runtime as it was probed on this host. */
export interface Host {
  readonly runtime: RuntimeName
  readonly runtimeVersion: string
}

/** A verified snapshot, whose files stay until it is disposed, whoever deletes it meanwhile. */
export interface OpenedSnapshot extends AsyncDisposable {
  readonly manifest: Manifest
  readonly image: MachineImage
}

/**
 * Verifies a snapshot before anything is done with it: `snapshot_unfit` when it is of another runtime version,
 * CPU or agent, `snapshot_invalid` when a byte of it is not what was saved. A file is hashed once per process
 * while its inode, size and times stay; a daemon that starts hashes it anew.
 */
export const openSnapshot = async (
  store: SnapshotStore,
  digest: string,
  host: Host,
  signal: AbortSignal,
): Promise<OpenedSnapshot> => {
  const act = `cannot use snapshot ${digest}`
  if (!/^[a-f0-9]{64}$/.test(digest)) throw new AtollError('invalid_request', `${act}: it is no digest`)
  await using stack = new AsyncDisposableStack()
  hold(store, digest)
  stack.defer(() => letGo(store, digest))
  const folder = snapshotFolder(store, digest)
  const top = await lstat(folder).catch(() => undefined)
  if (top === undefined || !top.isDirectory() || top.uid !== process.getuid?.())
    throw invalid(act, 'its folder is missing or foreign')
  const manifest = parseManifest(digest, await readManifest(folder, digest, act))
  refuseUnfit(act, manifest, host, store)
  await Promise.all(manifest.files.map((file) => verify(store, digest, folder, file, act, signal)))
  const held = stack.move()
  return {
    manifest,
    image: imageOf(manifest, folder),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

const imageOf = (
  { kind, runtime, runtimeVersion, diskBytes, files }: Manifest,
  folder: string,
): MachineImage => ({
  kind,
  runtime,
  version: runtimeVersion,
  diskBytes,
  files: files.map(({ name, bytes }) => ({ name, bytes, path: join(folder, name) })),
})

const invalid = (act: string, why: string, cause?: unknown): AtollError =>
  new AtollError('snapshot_invalid', `${act}: ${why}; delete it and save anew`, { cause })

/** Memory fits one runtime build, CPU and agent; files alone fit whatever runs the image. */
const refuseUnfit = (act: string, manifest: Manifest, host: Host, { cpu }: SnapshotStore): void => {
  const unfit = (why: string, remedy: string): AtollError =>
    new AtollError('snapshot_unfit', `${act}: it is of ${why}`, { remedy })
  if (manifest.runtime !== host.runtime)
    throw unfit(`runtime ${manifest.runtime}, not ${host.runtime}`, `ask for runtime ${manifest.runtime}`)
  if (manifest.kind === 'disk') return
  if (manifest.runtimeVersion !== host.runtimeVersion)
    throw unfit(
      `${manifest.runtimeVersion}, this host runs ${host.runtimeVersion}`,
      'start it on a host with that version, or save anew here',
    )
  const mismatch = cpuMismatch(manifest.cpu, cpu)
  if (mismatch !== undefined) throw unfit(mismatch, 'restore it on a host with that CPU, or save anew here')
  if (manifest.agentGeneration !== guestGeneration)
    throw unfit(
      `guest agent generation ${manifest.agentGeneration}, this node speaks ${guestGeneration}`,
      'start the build that saved it, or save anew with this one',
    )
}

/** Opened without following a link, and judged by its descriptor: what was checked is what is read. */
const openPlain = async (path: string, act: string, name: string) => {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: unknown) => {
      throw invalid(act, `${name} cannot be opened`, error)
    },
  )
  const found = await file.stat({ bigint: true })
  const isOurs =
    found.isFile() && Number(found.uid) === process.getuid?.() && (Number(found.mode) & 0o777) === 0o600
  if (isOurs) return { file, found }
  await file.close()
  throw invalid(act, `${name} is no plain file of ours alone`)
}

const readManifest = async (folder: string, digest: string, act: string): Promise<Uint8Array> => {
  const opened = await openPlain(join(folder, manifestName), act, manifestName)
  await using file = opened.file
  if (Number(opened.found.size) > snapshotLimits.manifestBytes) throw invalid(act, 'its manifest is too long')
  const bytes = await file.readFile()
  if (digestOf(bytes) !== digest) throw invalid(act, 'its manifest is not the one that was saved')
  return bytes
}

const verify = async (
  store: SnapshotStore,
  digest: string,
  folder: string,
  { name, bytes, sha256 }: Manifest['files'][number],
  act: string,
  signal: AbortSignal,
): Promise<void> => {
  const opened = await openPlain(join(folder, name), act, name)
  await using file = opened.file
  if (Number(opened.found.size) !== bytes)
    throw invalid(act, `${name} has ${opened.found.size} bytes instead of ${bytes}`)
  const identity = identityOf(opened.found)
  if (store.verified.get(`${digest}/${name}`) === identity) return
  if ((await hashOpenFile(file, signal)) !== sha256) throw invalid(act, `${name} is damaged`)
  remember(store, digest, name, identity)
}

const hold = (store: SnapshotStore, digest: string): void => {
  store.holds.set(digest, (store.holds.get(digest) ?? 0) + 1)
}

const letGo = async (store: SnapshotStore, digest: string): Promise<void> => {
  const left = (store.holds.get(digest) ?? 1) - 1
  if (left > 0) return void store.holds.set(digest, left)
  store.holds.delete(digest)
  if (store.doomed.delete(digest)) await removeSnapshotFiles(store, digest)
}
