import { lastExit } from '../../host/shimmed-machine.ts'
import type { MachineSpec, RuntimeDriver } from '../driver.ts'
import { blank } from './blank.ts'
import { gvisorHost, type GvisorOptions } from './options.ts'
import { probe } from './probe.ts'
import { recover } from './recover.ts'
import { restore } from './restore.ts'
import { start } from './start.ts'

/** gVisor: the sandbox's system calls are served by a kernel in user space, written in Go (runsc). */
export const gvisorDriver = (options: GvisorOptions): RuntimeDriver => {
  const host = gvisorHost(options)
  const makeBlank = (spec: MachineSpec, signal: AbortSignal) => blank(host, spec, signal)
  return {
    name: 'gvisor',
    probe: (signal) => probe(host, signal),
    start: (spec, signal, disk) => start(host, spec, signal, disk),
    blank: makeBlank,
    restore: (image, spec, signal) => restore(host, makeBlank, image, spec, signal),
    recover: (record, signal) => recover(host, record, signal),
    // Its disk is a part of its memory.
    keepDisk: async () => undefined,
    lastExit: ({ directory }) => lastExit(directory),
  }
}
