import type {
  Isolation,
  EndCause,
  Ended,
  Holder,
  IdlePolicy,
  LeaseAction,
  Lifecycle,
  PauseDepth,
  Receipt,
  RuntimeName,
  SandboxLimits,
  SandboxState,
} from './sandbox.ts'
import type { AtollError } from './atoll-error.ts'
import type { SnapshotKind } from './snapshot.ts'
import type { ImageConfig, BuildEvent, BuildSource, Step } from './template.ts'

/** When the node ends a sandbox, whoever else is alive (invariant 5). */
export interface Lease {
  readonly expiresAtMs: number
  /** The length that it was asked for: what a resume after its end extends it by. */
  readonly timeoutMs: number
  readonly onTimeout: LeaseAction
  readonly idle: IdlePolicy | null
  /** A call to a paused sandbox resumes it. */
  readonly autoResume: boolean
  readonly onHostLost: 'delete' | 'stop'
}

/** What the node is asked to run. Creating twice with the same id and an equal spec is one creation. */
export interface NodeSandboxSpec {
  readonly id: string
  readonly runtime: RuntimeName | null
  readonly imageDigest: string
  /** The node's snapshot to restore instead of a boot; its image and fixed limits must be these. */
  readonly snapshot: string | null
  readonly hostname: string
  readonly env: Readonly<Record<string, string>>
  readonly user: string
  readonly workdir: string
  /** The template's command that each sandbox starts when it boots, and what tells that it is ready. */
  readonly start: readonly string[] | null
  readonly ready: { readonly argv: readonly string[]; readonly timeoutMs: number } | null
  readonly limits: SandboxLimits
  readonly lease: Lease
}

/** A sandbox as the node knows it: `state` is a probe's answer, not a memory (invariant 3). */
export interface NodeSandbox {
  readonly id: string
  readonly state: SandboxState
  readonly depth: PauseDepth | null
  readonly generation: number
  readonly isolation: Isolation
  readonly limits: SandboxLimits
  readonly lease: Lease
  readonly ended: Ended | null
  readonly timings: Readonly<Record<string, number>>
}

/** A snapshot as the node keeps it. `id` is control's; its record stands until it is deleted. */
export interface NodeSnapshot {
  readonly id: string
  readonly kind: SnapshotKind
  readonly digest: string
  readonly sandbox: string
  readonly imageDigest: string
  readonly isolation: Isolation
  readonly limits: SandboxLimits
  readonly sizeBytes: number
  readonly pausedMs: number
  readonly createdAtMs: number
}

/** What came of each child of a fork, in the order asked. */
export interface NodeFork {
  readonly pausedMs: number
  readonly children: readonly (
    | { readonly id: string; readonly sandbox: NodeSandbox }
    | { readonly id: string; readonly error: AtollError }
  )[]
}

/** A child of a fork: what differs from its parent. */
export interface NodeForkChild {
  readonly id: string
  readonly hostname: string
  readonly lease: Lease
}

/** Something that happened on the node. `seq` grows by one per node and survives restarts. */
export interface NodeEvent {
  readonly seq: number
  readonly atMs: number
  readonly sandbox: string
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

export interface NodeImage {
  readonly digest: string
  readonly sizeBytes: number
  readonly config: ImageConfig
  readonly createdAtMs: number
}

export interface NodeBuild {
  readonly source:
    | BuildSource
    | { readonly type: 'image'; readonly digest: string }
    | { readonly type: 'base' }
  readonly steps: readonly Step[]
  readonly contextPath: string | null
  readonly noCache: boolean
}

export interface NodeInfo {
  readonly name: string
  readonly version: string
  /** Strongest available first. */
  readonly runtimes: readonly (Isolation & {
    readonly available: boolean
    readonly reason?: string
    readonly remedy?: string
  })[]
  readonly sandboxes: number
}

/** One request on a sandbox's guest agent. Paths and bodies are those of docs/reference/guest-protocol.md. */
export interface GuestRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** A Node Readable or bytes; typed loosely since protocol runs in browsers too. */
  readonly body?: Uint8Array | AsyncIterable<Uint8Array>
  readonly signal?: AbortSignal
  /** Keeps the sandbox from being idle while the exchange lasts. */
  readonly holder?: { readonly kind: Holder['kind']; readonly name: string }
  /** Ms until headers must be there; then `deadline_node`. Absent: the node's default. */
  readonly headersTimeoutMs?: number
}

export interface GuestResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** A Node Readable underneath. Must be consumed or destroyed. */
  readonly body: AsyncIterable<Uint8Array> & { destroy(error?: Error): unknown }
}

/**
 * What control and gateway may ask of a node. In one process it is called directly; between machines
 * it crosses `node/src/server`. Every method rejects with an AtollError.
 */
export interface NodeApi {
  info(signal?: AbortSignal): Promise<NodeInfo>
  /** Resolves when the sandbox runs and its guest has adopted its identity. */
  create(spec: NodeSandboxSpec, signal?: AbortSignal): Promise<NodeSandbox>
  /** Probes. `not_found` when the node never had it. Ended ones stay known for `limits.tombstoneKeptMs`. */
  get(id: string): Promise<NodeSandbox>
  list(): Promise<readonly NodeSandbox[]>
  lifecycle(id: string): Promise<Lifecycle>
  setLease(id: string, lease: Partial<Lease>): Promise<NodeSandbox>
  hold(id: string, name: string, ttlMs: number): Promise<Holder>
  release(id: string, name: string): Promise<void>
  /** Legal from every state, repeatable: the second answers the first one's receipt (invariant 4). */
  delete(id: string, cause: EndCause, by: string): Promise<Receipt>
  /** Keeps the disk, frees the rest. `unsupported` where the runtime cannot. */
  stop(id: string, by: string): Promise<NodeSandbox>
  start(id: string): Promise<NodeSandbox>
  /** Acknowledged once in force: `stored` is on disk and would survive a power cut. Repeatable; frozen can be deepened to stored. */
  pause(id: string, depth: PauseDepth, by: string): Promise<NodeSandbox>
  /** Answers once the guest has its identity and its clock again. A running one is answered as it is. */
  resume(id: string, by: string): Promise<NodeSandbox>
  /** Of a running or paused sandbox, which goes on as it was. Creating twice with the same id is one snapshot. */
  snapshot(
    id: string,
    snapshot: { readonly id: string; readonly kind: SnapshotKind },
    by: string,
  ): Promise<NodeSnapshot>
  snapshots(): Promise<readonly NodeSnapshot[]>
  /** Bytes freed. `not_found` when there is none; running sandboxes made from it go on. */
  deleteSnapshot(id: string): Promise<{ readonly freedBytes: number }>
  /** Per-child results; rejects only when the parent could not be captured at all. A child's id stands for one child (invariant 13). */
  fork(id: string, children: readonly NodeForkChild[], by: string): Promise<NodeFork>
  /** One exchange with the guest agent; guest errors (status >= 400) come back as responses, transport faults reject. */
  guest(id: string, request: GuestRequest): Promise<GuestResponse>
  /** Events after `seq`, oldest first, at most `count`. */
  events(afterSeq: number, count: number): Promise<readonly NodeEvent[]>
  /** Called at each new event; the way to learn of ends without polling. */
  onEvent(listener: (event: NodeEvent) => void): Disposable
  images(): Promise<readonly NodeImage[]>
  build(build: NodeBuild, onEvent: (event: BuildEvent) => void, signal: AbortSignal): Promise<NodeImage>
  /** `in_use` while a sandbox stands on it. */
  deleteImage(digest: string): Promise<void>
  /** Receives an upload (rootfs tar, OCI archive, copy context), verified by its SHA-256 before it is kept. */
  receiveUpload(
    sha256: string,
    body: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<{ sizeBytes: number }>
}
