import { type RuntimeName, runtimeNameSchema } from '@atoll/protocol'
import type { GuestConnection } from '../guest/connection.ts'
import type { Blank, Machine } from '../runtimes/driver.ts'

/** What a machine of the pool and the sandbox that claims it must agree on; all else is given at the claim. */
export interface MachineKey {
  readonly runtime: RuntimeName
  readonly imageDigest: string
  /** A mount option of the guest, fixed in a memory image. */
  readonly diskMib: number
}

/** One text for one key. */
export const keyText = ({ runtime, imageDigest, diskMib }: MachineKey): string =>
  `${runtime}/${imageDigest}/${diskMib}`

/** The key of a text that `keyText` made; undefined for one of another build. */
export const parseKey = (text: string): MachineKey | undefined => {
  const [runtime, imageDigest, disk] = text.split('/')
  const name = runtimeNameSchema.safeParse(runtime)
  const diskMib = Number(disk)
  if (!name.success || imageDigest === undefined || !Number.isSafeInteger(diskMib)) return undefined
  return { runtime: name.data, imageDigest, diskMib }
}

/**
 * A machine whose guest answers and has no identity yet. Disposing destroys it and frees all of it, unless a
 * sandbox's record names it by then: what the records say decides.
 */
export interface Unclaimed extends AsyncDisposable {
  readonly machineId: string
  readonly slot: number
  readonly machine: Machine
  readonly guest: GuestConnection
  /** Stages of how it came to be, ms by name. */
  readonly timings: Readonly<Record<string, number>>
  /** Names the sandbox whose guest it is from now on, for reports of its reach. */
  own(sandboxId: string): void
}

/** A place that waits for an image. */
export interface WaitingBlank {
  readonly machineId: string
  readonly slot: number
  readonly directory: string
  readonly blank: Blank
}

/** A member of the pool: frozen. */
export interface Member {
  readonly unclaimed: Unclaimed
  readonly memoryBytes: number
  readonly sinceMs: number
}

/** One key's part of the pool. */
export interface Shelf {
  readonly key: MachineKey
  /** Of an image that the operator keeps warm. */
  isWarm: boolean
  readonly ready: Member[]
  readonly blanks: WaitingBlank[]
  /** Creates that wanted this key, counted in windows of `poolLimits.demandWindowMs`: by number of the window. */
  readonly demand: Map<number, number>
  lastWantedMs: number
  /** A fill of it failed: not tried again before. Monotonic ms. */
  retryAtMs: number
}

/** The pool as this daemon holds it; node.db has the same machines in `pool`. */
export interface PoolState {
  readonly shelves: Map<string, Shelf>
  /** Machines of rows of `pool` that someone in this process answers for; the others are reaped. */
  readonly owned: Set<string>
  /** Template snapshots that are being made: the same one is made once. */
  readonly making: Map<string, Promise<void>>
  /** Templates whose snapshot cannot be had, and why, until the monotonic time. */
  readonly refused: Map<string, number>
  /** Creates that wait for more than a claim: nothing is filled meanwhile. */
  waiting: number
  /** When a machine was last wanted, and last filled; monotonic ms. */
  wantedMs: number
  filledMs: number
  /** When all that nobody answers for had been freed; monotonic ms. */
  reapedMs: number
  /** The one fill or trim under way. */
  filling: Promise<void> | undefined
  wake: () => void
}

/** A pool without machines. */
export const emptyPool = (): PoolState => ({
  shelves: new Map(),
  owned: new Set(),
  making: new Map(),
  refused: new Map(),
  waiting: 0,
  wantedMs: 0,
  filledMs: 0,
  reapedMs: 0,
  filling: undefined,
  wake: () => undefined,
})

/** The key's shelf, made when it is not there. */
export const shelfOf = (pool: PoolState, key: MachineKey): Shelf => {
  const text = keyText(key)
  let shelf = pool.shelves.get(text)
  if (shelf === undefined) {
    shelf = { key, isWarm: false, ready: [], blanks: [], demand: new Map(), lastWantedMs: 0, retryAtMs: 0 }
    pool.shelves.set(text, shelf)
  }
  return shelf
}
