import { readFile } from 'node:fs/promises'
import type { Clock } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import type { Blank, Machine, MachineImage, MachineSpec } from '../driver.ts'
import { imageFile, type SavedMachine, savedFrom } from './checkpoint.ts'
import { resumeProcess } from './guest/processes.ts'
import { serveGuest } from './guest/serve.ts'
import { bootedGuest } from './guest/state.ts'
import { machineOf } from './machine.ts'
import { makeSimulated } from './start.ts'
import { simulatedVersion } from './version.ts'
import type { SimulatedMachine, SimulatedWorld } from './world.ts'

/** A machine in which nothing runs until an image is put into it. */
export const blank = async (
  world: SimulatedWorld,
  clock: Clock,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Blank> => {
  signal.throwIfAborted()
  const simulated = await makeSimulated(world, clock, spec)
  const timings: Record<string, number> = {}
  const machine = machineOf(world, clock, simulated, timings)
  return {
    record: machine.record,
    spec,
    exited: machine.exited,
    freeze: (freezeSignal) => machine.freeze(freezeSignal),
    destroy: (destroySignal) => machine.destroy(destroySignal),
    restore: async (image, restoreSignal) => {
      const began = clock.monotonic()
      try {
        restoreSignal.throwIfAborted()
        const saved = await readImage(image, spec)
        if (simulated.exit !== undefined)
          throw new AtollError('internal', `cannot restore ${spec.id}: its blank has ended`)
        putImage(world, clock, simulated, saved)
      } catch (error) {
        await machine[Symbol.asyncDispose]()
        throw error
      }
      timings['restore'] = clock.monotonic() - began
      return machine
    },
    [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose](),
  }
}

/** A blank and its restore in one; the image is read before anything is made. */
export const restore = async (
  world: SimulatedWorld,
  clock: Clock,
  image: MachineImage,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<Machine> => {
  signal.throwIfAborted()
  await readImage(image, spec)
  const made = await blank(world, clock, spec, signal)
  return await made.restore(image, signal)
}

const readImage = async (image: MachineImage, spec: MachineSpec): Promise<SavedMachine> => {
  const act = `cannot restore ${spec.id}`
  const unfit = (why: string): AtollError =>
    new AtollError('snapshot_unfit', `${act}: ${why}; nothing was tried`)
  if (image.runtime !== 'simulated' || image.kind !== 'memory')
    throw unfit(`the image is a ${image.kind} image of ${image.runtime}`)
  if (image.version !== simulatedVersion) throw unfit(`the image is of ${image.version}`)
  if (image.diskBytes !== spec.limits.diskBytes) throw unfit(`the image's disk has ${image.diskBytes} bytes`)
  const file = image.files.find(({ name }) => name === imageFile)
  try {
    const bytes = await readFile(file?.path ?? '')
    if (bytes.byteLength !== file?.bytes) throw new Error(`it has ${bytes.byteLength} bytes`)
    return savedFrom(bytes)
  } catch (error) {
    throw new AtollError('snapshot_invalid', `${act}: ${imageFile} is not whole; nothing was tried`, {
      cause: error,
    })
  }
}

const putImage = (
  world: SimulatedWorld,
  clock: Clock,
  machine: SimulatedMachine,
  saved: SavedMachine,
): void => {
  const clocks = { now: () => clock.now(), monotonic: () => clock.monotonic() }
  const guest = { ...bootedGuest(saved.tree, clocks), startedAtMs: saved.startedAtMs }
  guest.identity = saved.identity
  guest.isCopy = saved.identity !== undefined
  guest.lastPid = saved.lastPid
  if (saved.quiet) guest.quiet.close()
  machine.agent.close()
  machine.guest = guest
  machine.agent = serveGuest(guest)
  world.disks.set(machine.directory, guest.tree)
  for (const process of saved.processes) resumeProcess(guest, process)
}
