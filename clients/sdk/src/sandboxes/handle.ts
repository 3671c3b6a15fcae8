import type {
  Holder,
  Isolation,
  Lifecycle,
  Metrics,
  Process,
  Receipt,
  Sandbox as SandboxInfo,
  SandboxEvent,
} from '@atoll/protocol'
import { type CallOptions, type Connection, connectionTo } from '../connection/connection.ts'
import { resolveSettings } from '../connection/settings.ts'
import { type Files, filesOf } from '../files/files.ts'
import type { Command } from '../processes/command.ts'
import { ProcessHandle } from '../processes/handle.ts'
import { openPty, type PtyOptions } from '../processes/pty.ts'
import { type RunOptions, type RunResult, runProcess } from '../processes/run.ts'
import { listProcesses, type StartOptions, startProcess } from '../processes/start.ts'
import type { Terminal } from '../processes/terminal.ts'
import { createSandbox, type CreateOptions } from './create.ts'
import { followEvents, type FollowEventsOptions } from './events.ts'
import { type Hold, holdSandbox, type HoldOptions } from './hold.ts'
import { type ListFilter, listSandboxes } from './list.ts'
import { readSandbox } from './read.ts'

/** Which Atoll: a client, or that of the environment. */
export interface Through {
  readonly atoll?: { readonly connection: Connection } | undefined
}

/** One isolated Linux environment. `await using` deletes it at the end of the block. */
export class Sandbox implements AsyncDisposable {
  readonly id: string
  readonly files: Files
  /** As the API answered last; `refresh` asks again. */
  info: SandboxInfo
  readonly #connection: Connection

  constructor(connection: Connection, info: SandboxInfo) {
    this.id = info.id
    this.info = info
    this.files = filesOf(connection, info.id)
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

  /** Changes what idleness and the deadline do. */
  setLease(
    lease: { idle?: SandboxInfo['idle']; onTimeout?: SandboxInfo['onTimeout'] },
    options: CallOptions = {},
  ): Promise<SandboxInfo> {
    return this.#change('lease', lease, options)
  }

  /** Keeps the disk and frees the rest; `unsupported` where the runtime cannot. */
  stop(options: CallOptions = {}): Promise<SandboxInfo> {
    return this.#change('stop', {}, options)
  }

  /** Starts a stopped one from its disk. */
  resume(options: CallOptions = {}): Promise<SandboxInfo> {
    return this.#change('start', {}, options)
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
    const { sandbox, receipt } = await this.#connection.json<{ sandbox: SandboxInfo; receipt: Receipt }>({
      ...options,
      method: 'DELETE',
      path: `/v1/sandboxes/${this.id}`,
      act: `delete ${this.id}`,
    })
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
