import { join } from 'node:path'
import { askContinue, askQuiesce } from '../../guest/calls.ts'
import type { MachineImage, MachineLimits } from '../driver.ts'
import { type Bench, type Booted, booted } from './bench.ts'

export const soon = (): AbortSignal => AbortSignal.timeout(30_000)
const stillMs = 20_000

/** Saves a machine as the node does: its processes stand still meanwhile. */
export const saveMemory = async (bench: Bench, box: Booted): Promise<MachineImage> => {
  await askQuiesce(box.guest, stillMs, stillMs)
  try {
    return await box.machine.checkpoint(join(await bench.folder(), 'image'), 'memory', soon())
  } finally {
    await askContinue(box.guest, stillMs)
  }
}

/** A machine of an image with an identity of its own, running. */
export const copyOf = async (
  bench: Bench,
  image: MachineImage,
  { generation = 2, limits = {} }: { generation?: number; limits?: Partial<MachineLimits> } = {},
): Promise<Booted> => {
  const spec = await bench.makeSpec({ limits: { diskBytes: image.diskBytes, ...limits } })
  const box = await booted(await bench.driver.restore(image, spec, soon()), spec, generation)
  await askContinue(box.guest, stillMs)
  return box
}
