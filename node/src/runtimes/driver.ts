import type { Duplex } from 'node:stream'

/** An isolation technology behind the port. */
export type RuntimeName = 'gvisor' | 'container' | 'microvm' | 'simulated'

/** What a runtime was seen to do on this host. Found by probing, never by asking whether a file exists. */
export interface Capabilities {
  readonly available: boolean
  /** Why not, and the command that mends it. Present exactly when `available` is false. */
  readonly unavailable?: { readonly reason: string; readonly remedy: string }
  /** Version line of the runtime in force, for records and refusals. */
  readonly version: string
  /** One sentence for people: what stands between the code inside and the host. */
  readonly isolation: string
  /** `strong`: own kernel surface; `weak`: the host's kernel; `none`: simulated. */
  readonly strength: 'strong' | 'weak' | 'none'
  readonly memorySnapshot: boolean
  readonly diskStop: boolean
  /** Who can save the files alone: the `host` by `checkpoint`, the `guest` by its layer (docs/reference/guest-protocol.md). */
  readonly diskSnapshot: 'host' | 'guest' | 'none'
  readonly freeze: boolean
  readonly resize: boolean
  /** Limits this runtime really enforces, and how a full one shows inside. */
  readonly limits: Readonly<
    Record<'cpu' | 'memory' | 'processes' | 'disk' | 'openFiles', 'enforced' | 'reported' | 'none'>
  >
  /** Sentences on what is weaker than a reader would expect. */
  readonly notes: readonly string[]
}

export interface MachineLimits {
  /** 1000 is one CPU. */
  readonly cpuMillis: number
  readonly memoryBytes: number
  readonly processes: number
  readonly diskBytes: number
  readonly openFiles: number
}

/**
 * Its claim on a CPU that others want, too: `background` is for machines of the pool, whose filling must not slow
 * those that someone waits for.
 */
export type CpuWeight = 'normal' | 'background'

export interface MachineSpec {
  /**
   * The machine's own id, not its sandbox's: a machine of the pool is older than the sandbox that claims it.
   * `sbx_` and 20 lowercase base32 characters: fixed length, since runsc matches ids by prefix.
   */
  readonly id: string
  /** The sandbox's own folder, exists, 0700. */
  readonly directory: string
  /** Absolute path of the template's EROFS file. Ignored by `simulated`. */
  readonly imagePath: string
  readonly hostname: string
  readonly limits: MachineLimits
  /** `normal` where it is not given; `resize` changes it. */
  readonly weight?: CpuWeight
  /** First host id of this sandbox's own range of 65,536. */
  readonly uidBase: number
  /** The node's hard end, enforced without any daemon. Unix ms. */
  readonly deadlineUnixMs: number | null
}

/** Plain data, enough for `recover` in another daemon process. JSON. */
export interface MachineRecord {
  readonly runtime: RuntimeName
  readonly id: string
  readonly directory: string
  readonly shimPid: number
  /** Field 22 of /proc/pid/stat: a pid alone identifies nothing. */
  readonly shimStartTime: number
  readonly runtimePid: number
  readonly runtimeStartTime: number
  readonly version: string
}

/** How a machine came to its end, as the host saw it. */
export interface MachineExit {
  readonly cause: 'killed' | 'exited' | 'oom' | 'deadline' | 'fault' | 'hostLost'
  readonly code: number | null
  readonly signal: string | null
  readonly oomKills: number
  readonly atUnixMs: number
  readonly message: string
}

export interface Usage {
  readonly memoryBytes: number
  readonly memoryPeakBytes: number
  readonly memoryLimitBytes: number
  readonly cpuMs: number
  readonly hostProcesses: number
  readonly oomKills: number
}

/** What a teardown really removed. */
export interface Receipt {
  readonly processes: number
  readonly cgroups: number
  readonly mounts: number
  readonly files: number
  readonly durationMs: number
}

/** Files of a checkpoint, as the driver wrote them: who keeps them hashes them, and names what they fit. */
export interface MachineImage {
  readonly kind: 'memory' | 'disk'
  readonly runtime: RuntimeName
  /** `MachineRecord.version` of the machine that wrote it; the driver refuses any other. */
  readonly version: string
  /** Fixed in the image; a restore with another is refused. */
  readonly diskBytes: number
  readonly files: readonly { readonly name: string; readonly path: string; readonly bytes: number }[]
}

/** A place with cgroups, disk and runtime in which nothing runs yet: what a restore need not wait for. */
export interface Blank extends AsyncDisposable {
  readonly record: MachineRecord
  readonly spec: MachineSpec
  /** Puts the image in, once; a blank whose restore failed is destroyed by it. Thaws where it was frozen. */
  restore(image: MachineImage, signal: AbortSignal): Promise<Machine>
  /** Its end before it became a machine. Resolves once, never rejects. */
  readonly exited: Promise<MachineExit>
  /** Keeps it from using CPU until then. */
  freeze(signal: AbortSignal): Promise<void>
  destroy(signal: AbortSignal): Promise<Receipt>
}

export interface Machine extends AsyncDisposable {
  readonly record: MachineRecord
  /** Stage timings of start or restore, ms by stage name. */
  readonly timings: Readonly<Record<string, number>>
  /** One link session. Speaks HTTP/2 (docs/reference/guest-protocol.md); a newer one replaces it. */
  connectGuest(signal: AbortSignal): Promise<Duplex>
  /** Resolves once, never rejects. */
  readonly exited: Promise<MachineExit>
  /** Probed now, not remembered. */
  state(signal: AbortSignal): Promise<'running' | 'frozen' | 'ended'>
  freeze(signal: AbortSignal): Promise<void>
  thaw(signal: AbortSignal): Promise<void>
  /**
   * Writes its state into the empty folder `target` and leaves it running: who wants its end destroys it after
   * the files are safe. The guest must be quiesced. `memory` has the disk in it; `disk` is for a boot by `start`.
   * Sizes are checked against what the runtime says it wrote; a failure leaves it running and removes the files.
   */
  checkpoint(target: string, kind: 'memory' | 'disk', signal: AbortSignal): Promise<MachineImage>
  /** Answers with the limits in force, read back. The disk's size is fixed; what commands may open, the guest sets. */
  resize(
    limits: Partial<MachineLimits> & { readonly weight?: CpuWeight },
    signal: AbortSignal,
  ): Promise<MachineLimits>
  /** What the host does at that instant when no daemon acts: `freeze` keeps what a pause would keep. */
  setDeadline(unixMs: number | null, action: 'kill' | 'freeze', signal: AbortSignal): Promise<void>
  usage(signal: AbortSignal): Promise<Usage>
  /** Ends it whatever its state, without help from the guest, and frees everything. Repeatable. */
  destroy(signal: AbortSignal): Promise<Receipt>
}

export interface RuntimeDriver {
  readonly name: RuntimeName
  /** By doing: boots a sandbox, runs a command in it, ends it. */
  probe(signal: AbortSignal): Promise<Capabilities>
  /** With `disk` it boots on the files of a disk image instead of an empty disk. */
  start(spec: MachineSpec, signal: AbortSignal, disk?: MachineImage): Promise<Machine>
  /** `unsupported` where the runtime has no memory snapshots. The spec's image and disk size must be the image's later. */
  blank(spec: MachineSpec, signal: AbortSignal): Promise<Blank>
  /** `blank` and its `restore` in one. */
  restore(image: MachineImage, spec: MachineSpec, signal: AbortSignal): Promise<Machine>
  /**
   * After a daemon restart. Undefined when what the record names is gone; its leftovers are removed then.
   * `shimPid` 0 names a start that was never finished: whatever its folder positively identifies is ended
   * and removed, and the answer is undefined.
   */
  recover(record: MachineRecord, signal: AbortSignal): Promise<Machine | undefined>
  /** Makes the disk that an ended machine left in its directory survive a power cut, where there is one. */
  keepDisk(directory: string): Promise<void>
  /** How it ended, where the host wrote that down while no daemon lived. Asked when `recover` found nothing. */
  lastExit(record: MachineRecord): Promise<MachineExit | undefined>
}
