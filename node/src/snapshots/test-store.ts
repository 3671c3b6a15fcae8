import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@atoll/kit'
import { defaultOptions, type NodeOptions } from '../machines/limits.ts'
import { openRecords } from '../records/open.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { readCpuFingerprint } from './cpu-fingerprint.ts'
import type { SaveContext } from './save.ts'
import { openSnapshotStore } from './store.ts'

export const imageDigest = 'a'.repeat(64)
export const testHost = { runtime: 'simulated', runtimeVersion: 'simulated 1' } as const

/** A store on real records in a folder of its own. */
export const testStore = async (
  options: Partial<NodeOptions> = {},
): Promise<SaveContext & { readonly folder: string; reopen(): Promise<void> } & AsyncDisposable> => {
  const folder = await mkdtemp(join(tmpdir(), 'atoll-snapshots-'))
  const records = openRecords(folder)
  const test = {
    folder,
    dataFolder: folder,
    records,
    clock: systemClock,
    random: (bytes: number) => randomBytes(bytes),
    options: { ...defaultOptions, diskReserveBytes: 0, ...options },
    snapshots: await openSnapshotStore(folder, await readCpuFingerprint()),
    /** What a daemon that starts anew remembers: nothing. */
    reopen: async () => {
      test.snapshots = await openSnapshotStore(folder, await readCpuFingerprint())
    },
    [Symbol.asyncDispose]: async () => {
      records.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return test
}

/** Writes files as a driver's checkpoint does. */
export const writeImage =
  (contents: Readonly<Record<string, string | Uint8Array>>, change: Partial<MachineImage> = {}) =>
  async (folder: string): Promise<MachineImage> => {
    const files = Object.entries(contents).map(([name, content]) => ({
      name,
      path: join(folder, name),
      bytes: Buffer.byteLength(content),
    }))
    for (const [name, content] of Object.entries(contents)) await writeFile(join(folder, name), content)
    return { kind: 'memory', runtime: 'simulated', version: 'simulated 1', diskBytes: 64, files, ...change }
  }
