import { launch } from '../../host/launcher.ts'
import type { Blank, MachineSpec } from '../driver.ts'
import { networkCall } from './control-calls.ts'
import { launchOf, prepare } from './launch-plan.ts'
import { gvisorMachine } from './machine.ts'
import type { GvisorHost } from './options.ts'
import { checkImage, controlPathLacks, putImage } from './restore.ts'

/** A gVisor with network and an empty disk, and nothing that runs in it. */
export const blank = async (host: GvisorHost, spec: MachineSpec, signal: AbortSignal): Promise<Blank> => {
  signal.throwIfAborted()
  if (host.controlPath !== 'socket') throw controlPathLacks('make a blank')
  await prepare(host, spec)
  const { timings, ...started } = await launch(
    host.launcherPath,
    launchOf(host, spec, { calls: [networkCall] }),
    signal,
  )
  const stages: Record<string, number> = { ...timings }
  const machine = gvisorMachine(host, spec, { timings: stages, ...started })
  return {
    record: machine.record,
    spec,
    exited: machine.exited,
    freeze: (freezeSignal) => machine.freeze(freezeSignal),
    destroy: (destroySignal) => machine.destroy(destroySignal),
    restore: async (image, restoreSignal) => {
      const began = performance.now()
      try {
        await checkImage(host, image, spec)
        await putImage(machine, image, restoreSignal)
      } catch (error) {
        // Half a kernel is in it: nothing else can become of it.
        await machine[Symbol.asyncDispose]()
        throw error
      }
      stages['restore'] = performance.now() - began
      return machine
    },
    [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose](),
  }
}
