import { AtollError, type Build, type BuildEvent, errorFromBody } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { streamBroken } from '../connection/faults.ts'
import { readLines } from '../connection/ndjson.ts'
import { resuming } from '../connection/resume.ts'

/** A template build under way. It goes on without this handle. */
export class BuildHandle {
  readonly id: string
  readonly #connection: Connection
  readonly #path: string

  constructor(connection: Connection, id: string) {
    this.id = id
    this.#connection = connection
    this.#path = `/v1/templates/builds/${id}`
  }

  info(options: CallOptions = {}): Promise<Build> {
    return this.#connection.json({
      ...options,
      method: 'GET',
      path: this.#path,
      act: `read build ${this.id}`,
    })
  }

  /** The log from its start (or after this many lines) to the end of the build; resumes over broken connections. */
  log(options: CallOptions & { after?: number } = {}): AsyncGenerator<BuildEvent, void, undefined> {
    const act = `follow build ${this.id}`
    const position = { after: options.after ?? 0 }
    return resuming(() => this.#readPart(position, act, options.signal), act, options.signal)
  }

  /** The finished build. Throws what failed: `build_failed` names the step. */
  async wait(options: CallOptions & { onEvent?: (event: BuildEvent) => void } = {}): Promise<Build> {
    for await (const event of this.log({ signal: options.signal })) options.onEvent?.(event)
    const build = await this.info({ signal: options.signal })
    if (build.state === 'succeeded') return build
    if (build.error !== null) throw errorFromBody(build.error, 422, `cannot build ${build.name}`)
    throw new AtollError('build_failed', `cannot build ${build.name}: it is ${build.state}`)
  }

  cancel(options: CallOptions = {}): Promise<Build> {
    return this.#connection.json({
      ...options,
      method: 'DELETE',
      path: this.#path,
      act: `cancel build ${this.id}`,
    })
  }

  async *#readPart(
    position: { after: number },
    act: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<BuildEvent, void, undefined> {
    const response = await this.#connection.send({
      method: 'GET',
      path: `${this.#path}/log`,
      query: { after: position.after, follow: true },
      headers: { accept: 'application/x-ndjson' },
      act,
      signal,
      streamed: true,
    })
    for await (const event of readLines<BuildEvent>(response, act)) {
      if (event.type === 'heartbeat') continue
      position.after++
      yield event
    }
    // A log may end only when its build has.
    if ((await this.info({ signal })).state === 'running') throw streamBroken(act)
  }
}
