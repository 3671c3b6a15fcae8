import { AtollError } from '@atoll/protocol'
import { launch } from '../../host/launcher.ts'
import type { Machine, MachineImage, MachineSpec } from '../driver.ts'
import { startCalls } from './control-calls.ts'
import { launchOf, prepare } from './launch-plan.ts'
import { gvisorMachine } from './machine.ts'
import type { GvisorHost } from './options.ts'

/** Boots a sandbox of gVisor. Its disk is a part of its memory: files alone come back by the guest's layer. */
export const start = async (
  host: GvisorHost,
  spec: MachineSpec,
  signal: AbortSignal,
  disk?: MachineImage,
): Promise<Machine> => {
  signal.throwIfAborted()
  if (disk !== undefined)
    throw new AtollError(
      'unsupported',
      `cannot boot ${spec.id} on a disk image: gvisor has none; lay the guest's layer over a fresh boot`,
    )
  await prepare(host, spec)
  const boot = host.controlPath === 'socket' ? { calls: startCalls(spec.id) } : { words: ['start', spec.id] }
  return gvisorMachine(host, spec, await launch(host.launcherPath, launchOf(host, spec, boot), signal))
}
