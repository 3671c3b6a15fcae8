import type { Exit, Process } from '@atoll/protocol'
import { type BodySource, bodyOf } from '../connection/bytes.ts'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { followOutput, type ProcessEvent } from './output.ts'

/** The standard input of a process that was started with `stdin: 'pipe'`. */
export interface ProcessInput {
  /** Sends bytes, in order; resolves when the process's pipe took them. Never sent twice. */
  write(data: BodySource, options?: CallOptions): Promise<void>
  close(options?: CallOptions): Promise<void>
}

/** A process in a sandbox. It lives on without this handle; `sandbox.process(id)` gives another. */
export class ProcessHandle implements AsyncIterable<ProcessEvent> {
  readonly id: string
  readonly stdin: ProcessInput
  readonly #connection: Connection
  readonly #path: string
  readonly #act: string

  constructor(connection: Connection, sandbox: string, id: string) {
    this.id = id
    this.#connection = connection
    this.#path = `/v1/sandboxes/${sandbox}/processes/${id}`
    this.#act = `follow process ${id} in ${sandbox}`
    this.stdin = inputOf(connection, this.#path)
  }

  [Symbol.asyncIterator](): AsyncGenerator<ProcessEvent, void, undefined> {
    return this.output()
  }

  /** Events from an offset of its log (default: all that is kept) to its exit; resumes over broken connections. */
  output(
    options: CallOptions & { offset?: number | undefined } = {},
  ): AsyncGenerator<ProcessEvent, void, undefined> {
    return followOutput({
      connection: this.#connection,
      path: this.#path,
      act: this.#act,
      signal: options.signal,
      offset: options.offset,
    })
  }

  /** The record as the guest has it now. */
  info(options: CallOptions = {}): Promise<Process> {
    return this.#connection.json({
      ...options,
      method: 'GET',
      path: this.#path,
      act: `read process ${this.id}`,
    })
  }

  /** Resolves at the end of the process. Follows heartbeats, so a dead connection is noticed. */
  async wait(options: CallOptions = {}): Promise<Exit> {
    const now = await this.info(options)
    if (now.exit !== null) return now.exit
    for await (const event of this.output({ ...options, offset: now.log.end }))
      if (event.type === 'exit') return event.exit
    throw streamBroken(this.#act)
  }

  /** Sends a signal to the process, or with `tree` to all that it started. */
  async signal(name: string, options: CallOptions & { tree?: boolean | undefined } = {}): Promise<void> {
    const { tree, ...call } = options
    await this.#connection.json({
      ...call,
      method: 'POST',
      path: `${this.#path}/signal`,
      json: { signal: name, tree: tree ?? false },
      act: `send ${name} to process ${this.id}`,
    })
  }

  /** Kills the whole tree (invariant 10); its exit can be asked for afterwards. */
  kill(options: CallOptions = {}): Promise<void> {
    return this.signal('SIGKILL', { ...options, tree: true })
  }

  /** Changes the size of its terminal. */
  async resize(size: { columns: number; rows: number }, options: CallOptions = {}): Promise<void> {
    await this.#connection.json({
      ...options,
      method: 'POST',
      path: `${this.#path}/resize`,
      json: size,
      act: `resize the terminal of process ${this.id}`,
    })
  }

  /** Kills the tree, waits for the end, and forgets the record: answers with it. */
  remove(options: CallOptions = {}): Promise<Process> {
    return this.#connection.json({
      ...options,
      method: 'DELETE',
      path: this.#path,
      act: `remove process ${this.id}`,
    })
  }
}

const inputOf = (connection: Connection, path: string): ProcessInput => {
  let last: Promise<unknown> = Promise.resolve()
  // One at a time: two writes under way would mix.
  const inOrder = (send: () => Promise<unknown>): Promise<void> => {
    const turn = last.then(send, send)
    last = turn
    return turn.then(() => undefined)
  }
  const post = (body: BodySource, close: boolean, options: CallOptions): Promise<void> =>
    inOrder(async () => {
      const response = await connection.send({
        ...options,
        method: 'POST',
        path: `${path}/stdin`,
        query: { close },
        headers: { 'content-type': 'application/octet-stream' },
        body: await bodyOf(body),
        act: close ? 'close the standard input' : 'write to the standard input',
        // Written bytes cannot be taken back, so they are sent once; and a full pipe may wait for long.
        once: true,
        streamed: true,
      })
      await response.arrayBuffer()
    })
  return {
    write: (data, options = {}) => post(data, false, options),
    close: (options = {}) => post('', true, options),
  }
}
