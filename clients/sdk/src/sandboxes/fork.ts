import { errorFromBody, type ForkResult } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { deleteSandbox } from './delete.ts'

export interface ForkOptions extends CallOptions {
  /** Children, 1 to 64. Default 1. */
  readonly count?: number | undefined
  /** Lifetime of each child from now; default: the parent's. */
  readonly timeoutMs?: number | undefined
  /** The same key never forks twice. Default: a fresh one for each call. */
  readonly idempotencyKey?: string | undefined
}

export const forkSandbox = (
  connection: Connection,
  sandbox: string,
  options: ForkOptions,
): Promise<ForkResult> => {
  const { count = 1, timeoutMs, ...call } = options
  return connection.json({
    ...call,
    method: 'POST',
    path: `/v1/sandboxes/${sandbox}/fork`,
    json: { count, timeoutMs },
    act: `fork ${sandbox} into ${count}`,
  })
}

/** All children or none: where one failed, the others are deleted and its error is thrown. */
export const allOrNone = async (
  connection: Connection,
  { parent, children }: ForkResult,
  options: CallOptions,
): Promise<Extract<ForkResult['children'][number], { ok: true }>['sandbox'][]> => {
  const made = children.flatMap((child) => (child.ok ? [child.sandbox] : []))
  const failed = children.find((child) => !child.ok)
  if (failed === undefined || failed.ok) return made
  await Promise.allSettled(made.map(({ id }) => deleteSandbox(connection, id, options)))
  throw errorFromBody(failed.error, 500, `cannot fork ${parent}: child ${failed.id}`)
}
