import type { Identity } from '../../../guest/calls.ts'
import { type Gate, makeGate } from './gate.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import type { Tree } from './tree.ts'

/** All that a simulated guest is. */
export interface GuestState {
  tree: Tree
  readonly processes: Map<string, SimulatedProcess>
  identity: Identity | undefined
  /** A restored copy that was not told yet who it is. */
  isCopy: boolean
  /** Closed between quiesce and continue. */
  readonly quiet: Gate
  /** Closed by the host, for the agent, too. */
  readonly frozen: Gate
  quietTimer: NodeJS.Timeout | undefined
  readonly startedAtMs: number
  readonly now: () => number
  readonly monotonic: () => number
  lastPid: number
}

/** A guest that has just booted. */
export const bootedGuest = (
  tree: Tree,
  { now, monotonic }: { readonly now: () => number; readonly monotonic: () => number },
): GuestState => ({
  tree,
  processes: new Map(),
  identity: undefined,
  isCopy: false,
  quiet: makeGate(),
  frozen: makeGate(),
  quietTimer: undefined,
  startedAtMs: now(),
  now,
  monotonic,
  lastPid: 1,
})

/** True when programs may run for the sandbox that it is. */
export const isAdopted = ({ identity, isCopy }: GuestState): boolean => identity !== undefined && !isCopy
