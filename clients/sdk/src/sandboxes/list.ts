import type { Sandbox as SandboxInfo, SandboxState } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { pages } from '../connection/pages.ts'

export interface ListFilter extends CallOptions {
  readonly state?: SandboxState | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly name?: string | undefined
  readonly template?: string | undefined
}

export const listSandboxes = (
  connection: Connection,
  filter: ListFilter,
): AsyncGenerator<SandboxInfo, void, undefined> => {
  const { state, name, template, labels = {}, ...call } = filter
  const query: Record<string, string | undefined> = { state, name, template }
  for (const [key, value] of Object.entries(labels)) query[`label.${key}`] = value
  return pages<SandboxInfo>(connection, '/v1/sandboxes', 'sandboxes', query, call)
}
