import { existsSync } from 'node:fs'
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import type { Machine, MachineImage, MachineSpec } from '../driver.ts'
import { serveGuest } from './guest/serve.ts'
import { bootedGuest } from './guest/state.ts'
import { makeTree, type Tree } from './guest/tree.ts'
import { machineOf, setDeadline } from './machine.ts'
import type { SimulatedMachine, SimulatedWorld } from './world.ts'

/** Marks a directory whose disk the world holds. */
const diskMarker = 'simulated-disk'

/** Boots a machine in memory. */
export const start = async (
  world: SimulatedWorld,
  clock: Clock,
  spec: MachineSpec,
  signal: AbortSignal,
  disk?: MachineImage,
): Promise<Machine> => {
  signal.throwIfAborted()
  if (disk !== undefined)
    throw new AtollError(
      'unsupported',
      `cannot boot ${spec.id} on a disk image: lay the guest's layer over it`,
    )
  const began = clock.monotonic()
  const machine = await makeSimulated(world, clock, spec)
  return machineOf(world, clock, machine, { boot: clock.monotonic() - began })
}

/** A machine of the world with an empty guest, on the disk of its directory. */
export const makeSimulated = async (
  world: SimulatedWorld,
  clock: Clock,
  spec: MachineSpec,
): Promise<SimulatedMachine> => {
  if (world.machines.has(spec.id))
    throw new AtollError('conflict', `cannot start ${spec.id}: a machine of that id runs`)
  const tree = await openDisk(world, clock, spec)
  const guest = bootedGuest(tree, { now: () => clock.now(), monotonic: () => clock.monotonic() })
  const machine: SimulatedMachine = {
    id: spec.id,
    directory: spec.directory,
    startTime: ++world.started,
    guest,
    agent: serveGuest(guest),
    exited: Promise.withResolvers(),
    exit: undefined,
    deadline: undefined,
    limits: { ...spec.limits },
  }
  setDeadline(world, clock, machine, spec.deadlineUnixMs, 'kill')
  world.machines.set(spec.id, machine)
  return machine
}

/** The disk that a former machine of this directory left, or a new one. */
const openDisk = async (world: SimulatedWorld, clock: Clock, spec: MachineSpec): Promise<Tree> => {
  const marker = join(spec.directory, diskMarker)
  const isKept = await access(marker).then(
    () => true,
    () => false,
  )
  const kept = world.disks.get(spec.directory)
  if (isKept && kept === undefined)
    throw new AtollError(
      'internal',
      `cannot start ${spec.id}: its disk was in the memory of another process`,
      {
        retryable: false,
      },
    )
  if (isKept && kept !== undefined) return kept
  for (const directory of world.disks.keys()) if (!existsSync(directory)) world.disks.delete(directory)
  await writeFile(marker, '', { mode: 0o600 })
  const tree = makeTree(spec.limits.diskBytes, clock.now())
  world.disks.set(spec.directory, tree)
  return tree
}
