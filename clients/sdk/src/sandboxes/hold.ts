import type { Holder } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'

export interface HoldOptions extends CallOptions {
  /** The hold ends by itself after this long, so that a dead client holds nothing. Default 60,000. */
  readonly ttlMs?: number | undefined
}

/** A client's lease on a sandbox. */
export interface Hold extends AsyncDisposable {
  readonly holder: Holder
  release(options?: CallOptions): Promise<void>
}

const defaultTtlMs = 60_000

export const holdSandbox = async (
  connection: Connection,
  sandbox: string,
  name: string,
  options: HoldOptions,
): Promise<Hold> => {
  const { ttlMs = defaultTtlMs, ...call } = options
  const path = `/v1/sandboxes/${sandbox}/holders/${encodeURIComponent(name)}`
  const act = `hold ${sandbox} as ${name}`
  const holder = await connection.json<Holder>({ ...call, method: 'PUT', path, json: { ttlMs }, act })
  const release = async (own: CallOptions = {}): Promise<void> => {
    const response = await connection.send({
      ...own,
      method: 'DELETE',
      path,
      act: `release ${name} of ${sandbox}`,
    })
    await response.arrayBuffer()
  }
  return { holder, release, [Symbol.asyncDispose]: () => release() }
}
