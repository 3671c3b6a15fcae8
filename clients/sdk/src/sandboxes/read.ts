import type { Sandbox as SandboxInfo } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'

/** The record of one sandbox, its state probed now. */
export const readSandbox = (connection: Connection, id: string, options: CallOptions): Promise<SandboxInfo> =>
  connection.json({
    ...options,
    method: 'GET',
    path: `/v1/sandboxes/${encodeURIComponent(id)}`,
    act: `read ${id}`,
  })
