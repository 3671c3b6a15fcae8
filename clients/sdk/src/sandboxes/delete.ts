import type { Receipt, Sandbox as SandboxInfo } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'

export const deleteSandbox = (
  connection: Connection,
  id: string,
  options: CallOptions,
): Promise<{ sandbox: SandboxInfo; receipt: Receipt }> =>
  connection.json({ ...options, method: 'DELETE', path: `/v1/sandboxes/${id}`, act: `delete ${id}` })
