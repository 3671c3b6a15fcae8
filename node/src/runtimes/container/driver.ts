import { lastExit } from '../../host/shimmed-machine.ts'
import type { RuntimeDriver } from '../driver.ts'
import { keepDisk } from './disk.ts'
import { containerHost, type ContainerOptions } from './options.ts'
import { probe } from './probe.ts'
import { recover } from './recover.ts'
import { noMemory } from './restore.ts'
import { start } from './start.ts'

/** Containers on the host's own kernel: weaker than gVisor, and labelled so. */
export const containerDriver = (options: ContainerOptions): RuntimeDriver => {
  const host = containerHost(options)
  return {
    name: 'container',
    probe: (signal) => probe(host, signal),
    start: (spec, signal, disk) => start(host, spec, signal, disk),
    blank: async (spec) => {
      throw noMemory(`make a blank for ${spec.id}`)
    },
    restore: async (_image, spec) => {
      throw noMemory(`restore ${spec.id}`)
    },
    recover: (record, signal) => recover(host, record, signal),
    keepDisk,
    lastExit: ({ directory }) => lastExit(directory),
  }
}
