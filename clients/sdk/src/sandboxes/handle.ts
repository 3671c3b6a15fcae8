import {
  type AtollError,
  errorFromBody,
  type Holder,
  type Isolation,
  type Lifecycle,
  type Metrics,
  type PauseDepth,
  type Process,
  type Receipt,
  type Sandbox as SandboxInfo,
  type SandboxEvent,
  type Snapshot,
} from '@atoll/protocol'
import { type CallOptions, type Connection, connectionTo } from '../connection/connection.ts'
import { resolveSettings } from '../connection/settings.ts'
import { type Files, filesOf } from '../files/files.ts'
import { type Ports, portsOf } from '../ports/ports.ts'
import type { Command } from '../processes/command.ts'
import { ProcessHandle } from '../processes/handle.ts'
import { openPty, type PtyOptions } from '../processes/pty.ts'
import { type RunOptions, type RunResult, runProcess } from '../processes/run.ts'
import { listProcesses, type StartOptions, startProcess } from '../processes/start.ts'
import type { Terminal } from '../processes/terminal.ts'
import { saveSandbox, type SnapshotOptions } from '../snapshots/snapshots.ts'
import { createSandbox, type CreateOptions } from './create.ts'
import { deleteSandbox } from './delete.ts'
import { followEvents, type FollowEventsOptions } from './events.ts'
import { allOrNone, type ForkOptions, forkSandbox } from './fork.ts'
import { type Hold, holdSandbox, type HoldOptions } from './hold.ts'
import { type ListFilter, listSandboxes } from './list.ts'
import { readSandbox } from './read.ts'

/** Which Atoll: a client, or that of the environment. */
export interface Through {
  readonly atoll?: { readonly connection: Connection } | undefined
}

export interface PauseOptions extends CallOptions {
  /** Default `stored`. */
  readonly depth?: PauseDepth | undefined
}

/** What came of a fork. */
export interface ForkOutcome {
  /** How long user code of the parent stood still, ms. */
  readonly pausedMs: number
  readonly children: readonly (
    | { readonly ok: true; readonly sandbox: Sandbox }
    | { readonly ok: false; readonly id: string; readonly error: AtollError }
  )[]
}

/** One isolated Linux environment. `await using` deletes it at the end of the block. */
export class Sandbox implements AsyncDisposable {
  readonly id: string
  readonly files: Files
  readonly ports: Ports
  /** As the API answered last; `refresh` asks again. */
  info: SandboxInfo
  readonly #connection: Connection

  constructor(connection: Connection, info: SandboxInfo) {
    this.id = info.id
    this.info = info
    this.files = filesOf(connection, info.id)
    this.ports = portsOf(connection, info.id)
    this.#connection = connection
  }

  /** Creates one and comes back when it runs. */
  static async create(options: CreateOptions & Through = {}): Promise<Sandbox> {
    const { atoll, ...own } = options
    const connection = connectionOf(atoll)
    return new Sandbox(connection, await createSandbox(connection, own))
  }

  /** Takes up one that is there, by id. */
  static async connect(id: string, options: CallOptions & Through = {}): Promise<Sandbox> {
    const { atoll, ...own } = options
    const connection = connectionOf(atoll)
    return new Sandbox(connection, await readSandbox(connection, id, own))
  }

  /** All that fit, page by page as the loop goes on. */
  static list(filter: ListFilter & Through = {}): AsyncGenerator<SandboxInfo, void, undefined> {
    const { atoll, ...own } = filter
    return listSandboxes(connectionOf(atoll), own)
  }

  /** What stands between the code inside and the host (invariant 11). */
  get isolation(): Isolation {
    return this.info.isolation
  }

  /** Runs a program (array) or a shell line (string) to its end. */
  run(command: Command, options: RunOptions = {}): Promise<RunResult> {
    return runProcess(this.#connection, this.id, command, options)
  }

  /** Starts a process and comes back at once. */
  start(command: Command, options: StartOptions = {}): Promise<ProcessHandle> {
    return startProcess(this.#connection, this.id, command, options)
  }

  /** A process that was started before, by its id. */
  process(id: string): ProcessHandle {
    return new ProcessHandle(this.#connection, this.id, id)
  }

  processes(): Promise<readonly Process[]> {
    return listProcesses(this.#connection, this.id)
  }

  /** A terminal with a login shell, or with the command that is given. */
  pty(options: PtyOptions): Promise<Terminal> {
    return openPty(this.#connection, this.id, options)
  }

  metrics(options: CallOptions = {}): Promise<Metrics> {
    return this.#get('metrics', 'read the metrics of', options)
  }

  /** What keeps it alive, and what will happen when. */
  lifecycle(options: CallOptions = {}): Promise<Lifecycle> {
    return this.#get('lifecycle', 'read the lifecycle of', options)
  }

  async refresh(options: CallOptions = {}): Promise<SandboxInfo> {
    this.info = await readSandbox(this.#connection, this.id, options)
    return this.info
  }

  /** Ends no sooner than this many ms from now. Never shortens: the answer says what is in force. */
  extend(timeoutMs: number, options: CallOptions = {}): Promise<SandboxInfo> {
    return this.#change('extend', { timeoutMs }, options)
  }

  /** Changes what idleness, the deadline and a call to a paused one do. */
  setLease(
    lease: {
      idle?: SandboxInfo['idle']
      onTimeout?: SandboxInfo['onTimeout']
      autoResume?: SandboxInfo['autoResume']
    },
    options: CallOptions = {},
  ): Promise<SandboxInfo> {
    return this.#change('lease', lease, options)
  }

  /** Of a paused one, as the API answered last: `frozen` in memory or `stored` on disk. Null in every other state. */
  get depth(): PauseDepth | null {
    return this.info.depth
  }

  /** Grows with each identity that its guest got: at create, fork, resume from disk. As the API answered last. */
  get generation(): number {
    return this.info.generation
  }

  /**
   * Keeps memory, processes and files as they are. `stored` (default) is answered once it would survive a power
   * cut and frees CPU and memory; `frozen` keeps the memory and comes back in milliseconds. Open streams end with
   * `state_conflict`; the next call resumes it, unless `autoResume` is off.
   */
  pause({ depth, ...options }: PauseOptions = {}): Promise<SandboxInfo> {
    return this.#change('pause', { depth }, options)
  }

  /** Brings back a paused one as it was, and a stopped one by a boot on its disk. */
  resume(options: CallOptions = {}): Promise<SandboxInfo> {
    return this.#change('resume', {}, options)
  }

  /** Keeps the disk and frees the rest; `unsupported` where the runtime cannot. `resume` starts it again. */
  stop(options: CallOptions = {}): Promise<SandboxInfo> {
    return this.#change('stop', {}, options)
  }

  /** Copies with memory, processes and files, each with an identity of its own: all of them, or none and an error. */
  async fork(options: ForkOptions = {}): Promise<Sandbox[]> {
    const { signal, deadlineMs } = options
    const result = await forkSandbox(this.#connection, this.id, options)
    const made = await allOrNone(this.#connection, result, { signal, deadlineMs })
    return made.map((info) => new Sandbox(this.#connection, info))
  }

  /** The same with one answer for each child: some may be there although others failed. */
  async forkResults(options: ForkOptions = {}): Promise<ForkOutcome> {
    const { parent, pausedMs, children } = await forkSandbox(this.#connection, this.id, options)
    const connection = this.#connection
    const outcomes = children.map((child) =>
      child.ok
        ? { ok: true as const, sandbox: new Sandbox(connection, child.sandbox) }
        : {
            ok: false as const,
            id: child.id,
            error: errorFromBody(child.error, 500, `cannot fork ${parent}`),
          },
    )
    return { pausedMs, children: outcomes }
  }

  /** Saves it under an id of its own; it goes on as it was. Answered once it would survive a power cut. */
  snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    return saveSandbox(this.#connection, this.id, options)
  }

  /** Keeps it from being idle until the hold is released, or its time is over. */
  hold(name: string, options: HoldOptions = {}): Promise<Hold> {
    return holdSandbox(this.#connection, this.id, name, options)
  }

  /** Its ordered log; with `follow` it goes on until the loop is left. */
  events(options: FollowEventsOptions = {}): AsyncGenerator<SandboxEvent, void, undefined> {
    return followEvents(this.#connection, this.id, options)
  }

  /** Who holds it now. */
  async holders(options: CallOptions = {}): Promise<readonly Holder[]> {
    return (await this.lifecycle(options)).holders
  }

  /** Legal from every state and repeatable; answers with what was freed (invariant 4). */
  async delete(options: CallOptions = {}): Promise<Receipt> {
    const { sandbox, receipt } = await deleteSandbox(this.#connection, this.id, options)
    this.info = sandbox
    return receipt
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delete()
  }

  #get<T>(what: string, verb: string, options: CallOptions): Promise<T> {
    const path = `/v1/sandboxes/${this.id}/${what}`
    return this.#connection.json<T>({ ...options, method: 'GET', path, act: `${verb} ${this.id}` })
  }

  async #change(verb: string, json: object, options: CallOptions): Promise<SandboxInfo> {
    const path = `/v1/sandboxes/${this.id}/${verb}`
    const act = `${verb} ${this.id}`
    this.info = await this.#connection.json<SandboxInfo>({ ...options, method: 'POST', path, json, act })
    return this.info
  }
}

const connectionOf = (atoll: Through['atoll']): Connection =>
  atoll?.connection ?? connectionTo(resolveSettings({}))
