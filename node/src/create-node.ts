import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type Clock, semaphore, systemClock } from '@atoll/kit'
import { AtollError, type NodeApi } from '@atoll/protocol'
import type { OpenBuildSandbox } from './images/build-sandbox.ts'
import type { Context } from './machines/context.ts'
import { defaultOptions, type NodeOptions } from './machines/limits.ts'
import { openBuildSandbox } from './machines/open-build-sandbox.ts'
import type { Images, Logger } from './machines/ports.ts'
import { type Leftover, reconcile } from './machines/reconcile.ts'
import { recoverAll } from './machines/recover.ts'
import { runtimeChoice } from './machines/runtimes.ts'
import { startTicker } from './machines/tick.ts'
import { nodeApi } from './node-api.ts'
import { drainPool } from './pool/drain.ts'
import { keepPool } from './pool/keep-pool.ts'
import { emptyPool } from './pool/state.ts'
import { openRecords } from './records/open.ts'
import type { RuntimeDriver } from './runtimes/driver.ts'
import { readCpuFingerprint } from './snapshots/cpu-fingerprint.ts'
import { sweepSnapshots } from './snapshots/remove.ts'
import { openSnapshotStore } from './snapshots/store.ts'

/** What a node is made of. */
export interface NodeDependencies {
  /** Holds node.db and sandboxes/; made when it is not there. */
  readonly dataFolder: string
  readonly drivers: readonly RuntimeDriver[]
  /** The images, or what makes them of sandboxes for their builds: `(open) => nodeImages(store, open)`. */
  readonly images: Images | ((openSandbox: OpenBuildSandbox) => Images)
  readonly logger: Logger
  readonly clock?: Clock
  readonly random?: (bytes: number) => Uint8Array
  readonly options?: Partial<NodeOptions>
  /** The host's boot, where a test plays a reboot. */
  readonly bootId?: string
}

/** The node: closing it leaves its sandboxes running, and the next one takes them back. */
export type Node = NodeApi &
  AsyncDisposable & {
    /** Folders of former sandboxes: tells with `dryRun`, else removes what is positively ours and ended. */
    reconcile(options: { readonly dryRun: boolean }): Promise<Leftover[]>
  }

/** Opens the records, takes back what runs and begins to probe the runtimes in the background. */
export const createNode = async (dependencies: NodeDependencies): Promise<Node> => {
  const { dataFolder, logger, clock = systemClock, random = randomBytes } = dependencies
  const options = { ...defaultOptions, ...dependencies.options }
  await mkdir(join(dataFolder, 'sandboxes'), { recursive: true, mode: 0o700 })
  const snapshots = await openSnapshotStore(dataFolder, await readCpuFingerprint())
  const closing = new AbortController()
  const records = openRecords(dataFolder)
  const context: Context = {
    dataFolder,
    clock,
    random,
    logger,
    records,
    images:
      typeof dependencies.images === 'function'
        ? dependencies.images(openBuildSandbox(() => context))
        : dependencies.images,
    runtimes: runtimeChoice(dependencies.drivers, { clock, logger, closing: closing.signal }),
    snapshots,
    pool: emptyPool(),
    options,
    bootId: dependencies.bootId ?? readBootId(),
    boots: semaphore(options.boots, options.bootQueue),
    claims: semaphore(options.claims, options.sandboxes),
    live: new Map(),
    work: new Map(),
    ends: new Map(),
    lines: new Map(),
    listeners: new Set(),
    closing: closing.signal,
  }
  const close = async (ticker?: Disposable, keeper?: AsyncDisposable): Promise<void> => {
    if (closing.signal.aborted) return
    const reason = new AtollError('node_unreachable', 'the node daemon is closing; its sandboxes go on')
    closing.abort(reason)
    ticker?.[Symbol.dispose]()
    await Promise.allSettled([...context.work.values()].map(({ done }) => done))
    await Promise.allSettled(context.ends.values())
    await keeper?.[Symbol.asyncDispose]()
    if (keeper !== undefined && options.freePoolAtClose) await drainPool(context)
    for (const { ready } of context.pool.shelves.values())
      for (const { unclaimed } of ready) unclaimed.guest.close(reason)
    for (const live of context.live.values()) live.guest.close(reason)
    records.close()
  }
  try {
    await sweepSnapshots(context)
    await recoverAll(context)
    await reconcile(context, { dryRun: false })
  } catch (error) {
    await close()
    throw error
  }
  context.runtimes.begin()
  const ticker = startTicker(context)
  const keeper = keepPool(context)
  return {
    ...nodeApi(context),
    reconcile: (how) => reconcile(context, how),
    [Symbol.asyncDispose]: () => close(ticker, keeper),
  }
}

const readBootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
