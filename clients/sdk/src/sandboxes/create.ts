import type { CreateSandboxInput, Sandbox as SandboxInfo } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'

/**
 * What a new sandbox shall be. All of it has defaults: template `base`, the strongest runtime, one hour. With
 * `snapshot` it goes on where that was saved, with the limits of that where none are given; its disk keeps its size.
 */
export interface CreateOptions extends Omit<CreateSandboxInput, 'snapshot'>, CallOptions {
  /** Id of a snapshot. Not together with `template`. */
  readonly snapshot?: string | undefined
  /** The same key never creates twice. Default: a fresh one for each call. */
  readonly idempotencyKey?: string | undefined
}

export const createSandbox = (connection: Connection, options: CreateOptions): Promise<SandboxInfo> => {
  const { signal, deadlineMs, idempotencyKey, ...body } = options
  return connection.json({
    method: 'POST',
    path: '/v1/sandboxes',
    json: body,
    act: `create a sandbox from ${body.snapshot ?? body.template ?? 'base'}`,
    signal,
    deadlineMs,
    idempotencyKey,
  })
}
