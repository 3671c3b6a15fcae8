import type { Identity } from '../../../guest/calls.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Tree } from './tree.ts'

/** All that a simulated guest is. */
export interface GuestState {
  readonly tree: Tree
  readonly processes: Map<string, SimulatedProcess>
  identity: Identity | undefined
  readonly startedAtMs: number
  readonly now: () => number
  readonly monotonic: () => number
  readonly nextPid: () => number
}
