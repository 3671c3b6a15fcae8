import type { Snapshot, SnapshotKind } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { pages } from '../connection/pages.ts'

export interface SnapshotOptions extends CallOptions {
  /** `memory` (default): memory, processes and files at one instant. `disk`: the files; what is made of it boots. */
  readonly kind?: SnapshotKind | undefined
  /** Unique in the project. */
  readonly name?: string | undefined
  /** The same key never saves twice. Default: a fresh one for each call. */
  readonly idempotencyKey?: string | undefined
}

export interface SnapshotFilter extends CallOptions {
  readonly name?: string | undefined
  readonly sandbox?: string | undefined
}

/** Saved sandboxes of the key's project. Made by `sandbox.snapshot()`, used by `create({ snapshot })`. */
export interface Snapshots {
  list(filter?: SnapshotFilter): AsyncGenerator<Snapshot, void, undefined>
  get(id: string, options?: CallOptions): Promise<Snapshot>
  /** Frees its files; sandboxes that were made from it go on. */
  delete(id: string, options?: CallOptions): Promise<{ id: string; freedBytes: number }>
}

export const snapshotsOf = (connection: Connection): Snapshots => ({
  list: ({ name, sandbox, ...call } = {}) =>
    pages<Snapshot>(connection, '/v1/snapshots', 'snapshots', { name, sandbox }, call),
  get: (id, options = {}) =>
    connection.json({ ...options, method: 'GET', path: pathOf(id), act: `read snapshot ${id}` }),
  delete: (id, options = {}) =>
    connection.json({ ...options, method: 'DELETE', path: pathOf(id), act: `delete snapshot ${id}` }),
})

const pathOf = (id: string): string => `/v1/snapshots/${encodeURIComponent(id)}`

export const saveSandbox = (
  connection: Connection,
  sandbox: string,
  options: SnapshotOptions,
): Promise<Snapshot> => {
  const { kind, name, ...call } = options
  const path = `/v1/sandboxes/${sandbox}/snapshots`
  return connection.json({ ...call, method: 'POST', path, json: { kind, name }, act: `snapshot ${sandbox}` })
}
