import type { CreatedKey, Key, Project, Quota, Scope } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { pages } from '../connection/pages.ts'

export interface Keys {
  list(options?: CallOptions): AsyncGenerator<Key, void, undefined>
  /** The secret is in this answer, and nowhere again. */
  create(
    key: { name: string; scopes: readonly Scope[]; project?: string },
    options?: CallOptions,
  ): Promise<CreatedKey>
  /** In force at once. */
  revoke(id: string, options?: CallOptions): Promise<void>
}

export const keysOf = (connection: Connection): Keys => ({
  list: (options = {}) => pages<Key>(connection, '/v1/keys', 'keys', {}, options),
  create: (key, options = {}) =>
    connection.json({
      ...options,
      method: 'POST',
      path: '/v1/keys',
      json: key,
      act: `create key ${key.name}`,
    }),
  revoke: async (id, options = {}) => {
    const path = `/v1/keys/${encodeURIComponent(id)}`
    const response = await connection.send({ ...options, method: 'DELETE', path, act: `revoke key ${id}` })
    await response.arrayBuffer()
  },
})

export interface Projects {
  list(options?: CallOptions): AsyncGenerator<Project, void, undefined>
  create(project: { name: string; quota?: Partial<Quota> }, options?: CallOptions): Promise<Project>
  setQuota(id: string, quota: Partial<Quota>, options?: CallOptions): Promise<Project>
}

export const projectsOf = (connection: Connection): Projects => ({
  list: (options = {}) => pages<Project>(connection, '/v1/projects', 'projects', {}, options),
  create: (project, options = {}) =>
    connection.json({
      ...options,
      method: 'POST',
      path: '/v1/projects',
      json: project,
      act: `create project ${project.name}`,
    }),
  setQuota: (id, quota, options = {}) =>
    connection.json({
      ...options,
      method: 'PATCH',
      path: `/v1/projects/${encodeURIComponent(id)}`,
      json: { quota },
      act: `change the quota of ${id}`,
    }),
})
