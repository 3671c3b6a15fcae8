import type { Build, BuildTemplate, Template } from '@atoll/protocol'
import { type BodySource, bodyOf, sha256Of } from '../connection/bytes.ts'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { pages } from '../connection/pages.ts'
import { BuildHandle } from './build.ts'

/** What a build is asked: a name, a source, steps. */
export type BuildInput = Pick<BuildTemplate, 'name' | 'source'> & Partial<BuildTemplate>

/** Templates of the key's project, and those that are there for all. */
export interface Templates {
  list(options?: CallOptions): AsyncGenerator<Template, void, undefined>
  get(nameOrId: string, options?: CallOptions): Promise<Template>
  delete(nameOrId: string, options?: CallOptions): Promise<void>
  /** Starts a build; the handle follows its log to its end. */
  build(build: BuildInput, options?: CallOptions & { idempotencyKey?: string }): Promise<BuildHandle>
  buildOf(id: string): BuildHandle
  /** Sends an archive that a build names later. For a stream the caller must know its SHA-256. */
  upload(
    source: BodySource,
    options?: CallOptions & { sha256?: string },
  ): Promise<{ sha256: string; sizeBytes: number }>
}

export const templatesOf = (connection: Connection): Templates => ({
  list: (options = {}) => pages<Template>(connection, '/v1/templates', 'templates', {}, options),
  get: (name, options = {}) =>
    connection.json({ ...options, method: 'GET', path: pathOf(name), act: `read template ${name}` }),
  delete: async (name, options = {}) => {
    const path = pathOf(name)
    const response = await connection.send({
      ...options,
      method: 'DELETE',
      path,
      act: `delete template ${name}`,
    })
    await response.arrayBuffer()
  },
  build: async (build, options = {}) => {
    const record = await connection.json<Build>({
      ...options,
      method: 'POST',
      path: '/v1/templates/builds',
      json: build,
      act: `build template ${build.name}`,
    })
    return new BuildHandle(connection, record.id)
  },
  buildOf: (id) => new BuildHandle(connection, id),
  upload: (source, options = {}) => upload(connection, source, options),
})

const pathOf = (name: string): string => `/v1/templates/${encodeURIComponent(name)}`

const upload = async (
  connection: Connection,
  source: BodySource,
  options: CallOptions & { sha256?: string },
): Promise<{ sha256: string; sizeBytes: number }> => {
  const body = await bodyOf(source)
  const sha256 = options.sha256 ?? (body instanceof Uint8Array ? await sha256Of(body) : undefined)
  if (sha256 === undefined)
    throw new TypeError('cannot upload a stream without its hash: give sha256 in the options')
  const { sizeBytes } = await connection.json<{ sizeBytes: number }>({
    signal: options.signal,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    method: 'PUT',
    path: `/v1/templates/uploads/${sha256}`,
    headers: { 'content-type': 'application/octet-stream' },
    body,
    act: 'upload an archive',
    streamed: true,
  })
  return { sha256, sizeBytes }
}
