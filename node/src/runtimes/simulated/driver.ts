import { type Clock, systemClock } from '@atoll/kit'
import type { RuntimeDriver } from '../driver.ts'
import { probe } from './probe.ts'
import { recover } from './recover.ts'
import { blank, restore } from './restore.ts'
import { start } from './start.ts'
import { type SimulatedWorld, simulatedWorld } from './world.ts'

/** The whole guest in memory, for tests of everything above it. Drivers of one world see the same machines. */
export const simulatedDriver = (
  options: { readonly world?: SimulatedWorld; readonly clock?: Clock } = {},
): RuntimeDriver => {
  const { world = simulatedWorld(), clock = systemClock } = options
  return {
    name: 'simulated',
    probe,
    start: (spec, signal, disk) => start(world, clock, spec, signal, disk),
    blank: (spec, signal) => blank(world, clock, spec, signal),
    restore: (image, spec, signal) => restore(world, clock, image, spec, signal),
    recover: (record) => recover(world, clock, record),
    keepDisk: async () => undefined,
    // Its machines live in memory: what is gone has left nothing behind.
    lastExit: async () => undefined,
  }
}
