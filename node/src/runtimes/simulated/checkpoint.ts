import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { AtollError } from '@atoll/protocol'
import type { Identity } from '../../guest/calls.ts'
import type { MachineImage } from '../driver.ts'
import type { SavedProcess } from './guest/simulated-process.ts'
import type { Tree } from './guest/tree.ts'
import { simulatedVersion } from './version.ts'
import type { SimulatedMachine } from './world.ts'

/** The one file of an image. */
export const imageFile = 'machine.bin'

/** All that a copy needs. */
export interface SavedMachine {
  readonly tree: Tree
  readonly processes: readonly SavedProcess[]
  readonly identity: Identity | undefined
  readonly quiet: boolean
  readonly startedAtMs: number
  readonly lastPid: number
}

/** Copies the whole guest at one instant into a file; it runs on. */
export const checkpoint = async (
  machine: SimulatedMachine,
  target: string,
  kind: MachineImage['kind'],
  signal: AbortSignal,
): Promise<MachineImage> => {
  signal.throwIfAborted()
  const act = `cannot save ${machine.id}`
  if (kind === 'disk')
    throw new AtollError('unsupported', `${act}: its disk alone is the guest's to give; ask it for its layer`)
  if (machine.guest.frozen.isClosed)
    throw new AtollError('state_conflict', `${act}: it is frozen; thaw it first`)
  await mkdir(target, { recursive: true, mode: 0o700 })
  if ((await readdir(target)).length > 0)
    throw new AtollError('conflict', `${act} to ${target}: the folder is not empty`)
  const path = join(target, imageFile)
  try {
    await writeFile(path, serialize(savedOf(machine)), { flag: 'wx', mode: 0o600, signal })
    const { bytes, limits } = { bytes: (await stat(path)).size, limits: machine.limits }
    return {
      kind,
      runtime: 'simulated',
      version: simulatedVersion,
      diskBytes: limits.diskBytes,
      files: [{ name: imageFile, path, bytes }],
    }
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
}

const savedOf = ({ guest }: SimulatedMachine): SavedMachine => ({
  tree: guest.tree,
  processes: [...guest.processes.values()].map((process) => process.save()),
  identity: guest.identity,
  quiet: guest.quiet.isClosed,
  startedAtMs: guest.startedAtMs,
  lastPid: guest.lastPid,
})

/** What `checkpoint` wrote; throws where the bytes are not whole. */
export const savedFrom = (bytes: Uint8Array): SavedMachine => {
  const saved: SavedMachine = deserialize(bytes)
  if (!Array.isArray(saved.processes) || saved.tree.root.type !== 'directory')
    throw new Error('it is foreign')
  return saved
}
