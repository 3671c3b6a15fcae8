import type { CreateSandboxInput, Sandbox as SandboxInfo } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'

/** What a new sandbox shall be. All of it has defaults: template `base`, the strongest runtime, one hour. */
export interface CreateOptions extends CreateSandboxInput, CallOptions {
  /** The same key never creates twice. Default: a fresh one for each call. */
  readonly idempotencyKey?: string | undefined
}

export const createSandbox = (connection: Connection, options: CreateOptions): Promise<SandboxInfo> => {
  const { signal, deadlineMs, idempotencyKey, ...body } = options
  return connection.json({
    method: 'POST',
    path: '/v1/sandboxes',
    json: body,
    act: `create a sandbox from ${body.template ?? 'base'}`,
    signal,
    deadlineMs,
    idempotencyKey,
  })
}
