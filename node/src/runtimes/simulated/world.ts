import type { MachineExit } from '../driver.ts'
import type { GuestState } from './guest/state.ts'
import type { serveGuest } from './guest/serve.ts'
import type { Tree } from './guest/tree.ts'

/** A simulated machine as its host holds it. */
export interface SimulatedMachine {
  readonly id: string
  readonly directory: string
  readonly startTime: number
  guest: GuestState
  agent: ReturnType<typeof serveGuest>
  readonly exited: PromiseWithResolvers<MachineExit>
  exit: MachineExit | undefined
  deadline: Disposable | undefined
  limits: { memoryBytes: number; cpuMillis: number; processes: number; diskBytes: number; openFiles: number }
}

/** What outlives a daemon: give the same world to the next driver and it can recover its machines. */
export interface SimulatedWorld {
  readonly machines: Map<string, SimulatedMachine>
  /** Disks of stopped machines by their directory. */
  readonly disks: Map<string, Tree>
  /** Counts machines: stands for pids and start times. */
  started: number
}

/** A host without machines. */
export const simulatedWorld = (): SimulatedWorld => ({ machines: new Map(), disks: new Map(), started: 0 })
