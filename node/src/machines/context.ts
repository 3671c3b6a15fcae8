import type { Clock } from '@atoll/kit'
import type { AtollError, Holder, NodeEvent, Receipt } from '@atoll/protocol'
import type { GuestConnection } from '../guest/connection.ts'
import type { PoolState } from '../pool/state.ts'
import type { Records } from '../records/open.ts'
import type { Machine } from '../runtimes/driver.ts'
import type { SnapshotStore } from '../snapshots/store.ts'
import type { NodeOptions } from './limits.ts'
import type { Images, Logger } from './ports.ts'
import type { Runtimes } from './runtimes.ts'

/** A machine that runs, with its channel. What is not in here is asked of node.db. */
export interface Live {
  readonly id: string
  readonly machine: Machine
  /** Another one after a pause broke the former off. */
  guest: GuestConnection
  /** Exchanges that hold the sandbox now. */
  readonly exchanges: Set<Holder>
  /** When the last exchange that held it ended; Unix ms. */
  lastHeldMs: number
  /** From before it is paused until after it was resumed: calls ask the record what to do. */
  standing: boolean
  /** While its processes stand still for a capture that they outlive: starts wait for it. */
  quiet: Promise<void> | undefined
  /** Frozen, it is not stored before: the last try failed, or its runtime cannot. Unix ms. */
  storeNotBeforeMs: number
}

/** A boot or stop under way: whoever deletes the sandbox aborts it and waits until it has unwound. */
export interface Work {
  readonly hash: string | null
  readonly abort: (reason: AtollError) => void
  readonly unwound: Promise<unknown>
  readonly done: Promise<unknown>
}

/** Whole-machine operations of one sandbox, one after the other. */
export interface Line {
  readonly name: string
  readonly result: Promise<unknown>
  readonly waiting: number
}

/** What every verb of the machines gets. */
export interface Context {
  readonly dataFolder: string
  readonly clock: Clock
  readonly random: (bytes: number) => Uint8Array
  readonly logger: Logger
  readonly records: Records
  readonly images: Images
  readonly runtimes: Runtimes
  readonly snapshots: SnapshotStore
  readonly pool: PoolState
  readonly options: NodeOptions
  readonly bootId: string
  readonly boots: { enter(signal?: AbortSignal): Promise<Disposable | undefined> }
  readonly claims: { enter(signal?: AbortSignal): Promise<Disposable | undefined> }
  readonly live: Map<string, Live>
  readonly work: Map<string, Work>
  readonly ends: Map<string, Promise<Receipt>>
  /** The last in line of each sandbox that has a line. */
  readonly lines: Map<string, Line>
  readonly listeners: Set<(event: NodeEvent) => void>
  /** Aborted when the daemon closes. */
  readonly closing: AbortSignal
}
