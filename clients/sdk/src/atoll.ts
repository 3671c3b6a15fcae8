import type { NodeInfo, Sandbox as SandboxInfo } from '@atoll/protocol'
import { type Keys, keysOf, type Projects, projectsOf } from './access/keys.ts'
import { type CallOptions, type Connection, connectionTo } from './connection/connection.ts'
import { type AtollOptions, resolveSettings } from './connection/settings.ts'
import type { CreateOptions } from './sandboxes/create.ts'
import { Sandbox } from './sandboxes/handle.ts'
import type { ListFilter } from './sandboxes/list.ts'
import { type Snapshots, snapshotsOf } from './snapshots/snapshots.ts'
import { type Templates, templatesOf } from './templates/templates.ts'

export interface Sandboxes {
  create(options?: CreateOptions): Promise<Sandbox>
  connect(id: string, options?: CallOptions): Promise<Sandbox>
  list(filter?: ListFilter): AsyncGenerator<SandboxInfo, void, undefined>
}

/** A client of one Atoll. Cheap to make; holds no connection open. */
export class Atoll {
  readonly connection: Connection
  readonly sandboxes: Sandboxes
  readonly snapshots: Snapshots
  readonly templates: Templates
  readonly keys: Keys
  readonly projects: Projects

  constructor(options: AtollOptions = {}) {
    this.connection = connectionTo(resolveSettings(options))
    this.sandboxes = {
      create: (own = {}) => Sandbox.create({ ...own, atoll: this }),
      connect: (id, own = {}) => Sandbox.connect(id, { ...own, atoll: this }),
      list: (filter = {}) => Sandbox.list({ ...filter, atoll: this }),
    }
    this.snapshots = snapshotsOf(this.connection)
    this.templates = templatesOf(this.connection)
    this.keys = keysOf(this.connection)
    this.projects = projectsOf(this.connection)
  }

  /** The node's runtimes, strongest first, and why one is not available. */
  node(options: CallOptions = {}): Promise<NodeInfo> {
    return this.connection.json({ ...options, method: 'GET', path: '/v1/node', act: 'read the node' })
  }

  /** True when it answers; throws why not. */
  async health(options: CallOptions = {}): Promise<true> {
    const response = await this.connection.send({
      ...options,
      method: 'GET',
      path: '/v1/health',
      act: 'ask for health',
    })
    await response.arrayBuffer()
    return true
  }
}
