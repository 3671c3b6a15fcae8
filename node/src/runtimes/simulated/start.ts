import { existsSync } from 'node:fs'
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { atTime, type Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import type { Machine, MachineSpec } from '../driver.ts'
import { serveGuest } from './guest/serve.ts'
import type { GuestState } from './guest/state.ts'
import { makeTree, type Tree } from './guest/tree.ts'
import { endMachine, machineOf } from './machine.ts'
import type { SimulatedMachine, SimulatedWorld } from './world.ts'

/** Marks a directory whose disk the world holds. */
const diskMarker = 'simulated-disk'

/** Boots a machine in memory. */
export const start = async (
  world: SimulatedWorld,
  clock: Clock,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> => {
  signal.throwIfAborted()
  const began = clock.monotonic()
  if (world.machines.has(spec.id))
    throw new AtollError('conflict', `cannot start ${spec.id}: a machine of that id runs`)
  const tree = await openDisk(world, clock, spec)
  let pid = 1
  const guest: GuestState = {
    tree,
    processes: new Map(),
    identity: undefined,
    startedAtMs: clock.now(),
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    nextPid: () => ++pid,
  }
  const machine: SimulatedMachine = {
    id: spec.id,
    directory: spec.directory,
    startTime: ++world.started,
    guest,
    agent: serveGuest(guest),
    exited: Promise.withResolvers(),
    exit: undefined,
    frozen: false,
    deadline: undefined,
    limits: { ...spec.limits },
  }
  if (spec.deadlineUnixMs !== null)
    machine.deadline = atTime(
      spec.deadlineUnixMs,
      () => clock.now(),
      () => endMachine(world, clock, machine, { cause: 'deadline', message: "the host's deadline passed" }),
    )
  world.machines.set(spec.id, machine)
  return machineOf(world, clock, machine, { boot: clock.monotonic() - began })
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
