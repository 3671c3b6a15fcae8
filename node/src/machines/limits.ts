/** Named limits and waits of the machines (invariant 9). */
export const machineLimits = {
  /** Longest that the way from asked to running may take, ms. */
  bootMs: 60_000,
  /** Longest for the first answer of a guest agent and for its adoption, each, ms. */
  guestReadyMs: 20_000,
  /** Longest for a teardown before it counts as stuck and is tried again, ms. */
  teardownMs: 30_000,
  /** Longest for a probe of a machine's state or of its guest, ms. */
  probeMs: 3_000,
  /** Longest for a runtime's probe by booting, ms. */
  runtimeProbeMs: 30_000,
  /** A runtime that was unavailable is probed again when it is asked for after this time, ms. */
  reprobeAfterMs: 30_000,
  /** Between two tries of a teardown that failed, ms. */
  teardownRetryMs: 5_000,
  /** What the host's own deadline has on top of ours, so that we act first while we live, ms. */
  hostDeadlineGraceMs: 10_000,
  /** A guest clock that is further off than this is not adopted, ms. */
  clockSkewMs: 2_000,
  /** Entries that a sandbox's folder may have when it is removed. */
  directoryEntries: 1_000_000,
  /** Clients' leases of one sandbox. */
  leasesPerSandbox: 64,
  /** Longest time to live of a client's lease, ms: one day. */
  leaseTtlMs: 86_400_000,
  /** Named exchanges that hold one sandbox at a time. */
  exchangesPerSandbox: 4_096,
  /** Probes of a list at a time. */
  probesAtATime: 16,
  /** Slots of 65,536 user ids above `uidFirst` that fit into 32 bits. */
  slots: 60_000,
  uidFirst: 200_000,
  uidsPerSlot: 65_536,
  /** Memory of a machine that waits for an image, bytes: that of a default sandbox. */
  blankMemoryBytes: 512 * 1024 ** 2,
  /** Longest for the way from asked to saved, or from saved to running, ms: a GiB of memory on a slow disk. */
  captureMs: 300_000,
  /** After that a guest goes on by itself where nobody asked it to, ms. */
  quiesceForMs: 330_000,
  /** Longest until all processes of a guest stand still, ms. */
  quiesceMs: 10_000,
  /** Between SIGTERM and the end of a machine that is stopped, ms. */
  stopGraceMs: 2_000,
  /** Operations on one whole sandbox that may wait for each other. */
  operationsPerSandbox: 32,
  /** Children of a fork on their way at a time, per CPU of the host. */
  forksPerCpu: 1,
  /** What the archive of a disk may take beyond the disk's own size, bytes: headers, and sparse files in full. */
  layerOverheadBytes: 64 * 1024 ** 2,
  /** After a frozen sandbox could not be stored, ms. */
  storeRetryMs: 60_000,
  /** Between two looks at the host's memory for machines that stand frozen, ms. */
  pressureEveryMs: 2_000,
  /** Between two runs of a template's ready command, ms. */
  readyEveryMs: 100,
  tickMinMs: 20,
  tickMaxMs: 1_000,
} as const

/** What an operator may set, with the defaults. */
export interface NodeOptions {
  readonly name: string
  readonly version: string
  /** Sandboxes that are not ended. */
  readonly sandboxes: number
  /** Promised memory over the host's memory: sandboxes rarely use their limit. */
  readonly memoryOvercommit: number
  /** What must stay available on the host, bytes. */
  readonly memoryReserveBytes: number
  readonly diskReserveBytes: number
  /** Boots at a time, and how many may wait. */
  readonly boots: number
  readonly bootQueue: number
  /** Claims at a time: they share the CPUs, and of a burst the first are to be done while the last wait. */
  readonly claims: number
  /** Images whose pool is filled without a demand. */
  readonly warmImages: readonly string[]
  /** Frozen machines that wait for each of them. */
  readonly poolMin: number
  /** Most of all images together; 0: nothing waits, and a create restores or boots. */
  readonly poolMax: number
  /** Memory of all that wait; null: a tenth of the host's. */
  readonly poolMemoryMib: number | null
  /** Frees the machines that wait when the daemon is closed; false: the next daemon takes them back. */
  readonly freePoolAtClose: boolean
  /** Create restores the template's snapshot where the runtime can; false: it boots. */
  readonly templateSnapshots: boolean
  /** Bytes of all snapshots: of users, of stored sandboxes, of templates. */
  readonly snapshotQuotaBytes: number
  /** After that a frozen sandbox goes to disk, ms. */
  readonly frozenKeptMs: number
  /** With less memory than that available on the host frozen ones go to disk, longest frozen first, bytes. */
  readonly frozenReserveBytes: number
}

export const defaultOptions: NodeOptions = {
  name: 'local',
  version: '0.1.0',
  sandboxes: 2_000,
  memoryOvercommit: 4,
  memoryReserveBytes: 256 * 1024 ** 2,
  diskReserveBytes: 512 * 1024 ** 2,
  boots: 4,
  bootQueue: 256,
  claims: 4,
  warmImages: [],
  poolMin: 2,
  poolMax: 200,
  poolMemoryMib: null,
  freePoolAtClose: false,
  templateSnapshots: true,
  snapshotQuotaBytes: 256 * 1024 ** 3,
  frozenKeptMs: 600_000,
  frozenReserveBytes: 512 * 1024 ** 2,
}
