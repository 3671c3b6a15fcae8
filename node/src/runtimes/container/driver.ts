import { lastExit } from '../../host/shimmed-machine.ts'
import type { RuntimeDriver } from '../driver.ts'
import { containerHost, type ContainerOptions } from './options.ts'
import { probe } from './probe.ts'
import { recover } from './recover.ts'
import { restore } from './restore.ts'
import { start } from './start.ts'

/** Containers on the host's own kernel: weaker than gVisor, and labelled so. */
export const containerDriver = (options: ContainerOptions): RuntimeDriver => {
  const host = containerHost(options)
  return {
    name: 'container',
    probe: (signal) => probe(host, signal),
    start: (spec, signal) => start(host, spec, signal),
    restore,
    recover: (record, signal) => recover(host, record, signal),
    lastExit: ({ directory }) => lastExit(directory),
  }
}
