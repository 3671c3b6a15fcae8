import type { Clock } from '@atoll/kit'
import type { NodeApi } from '@atoll/protocol'
import type { KeyCache } from './access/key-cache.ts'
import type { OwnerCache } from './access/owner-cache.ts'
import type { Turns } from './access/turns.ts'
import type { EventHub } from './events/hub.ts'
import type { FollowerGate } from './events/follower-gate.ts'
import type { ControlLimits } from './limits.ts'
import type { PortCache } from './ports/port-cache.ts'
import type { Database } from './store/open.ts'
import type { BaseTemplate } from './templates/base.ts'
import type { RunningBuilds } from './templates/running-builds.ts'

/** Where control writes what it sees. pino fits. Never a secret (invariant 7). */
export interface Logger {
  info(fields: Readonly<Record<string, unknown>>, message: string): void
  warn(fields: Readonly<Record<string, unknown>>, message: string): void
  error(fields: Readonly<Record<string, unknown>>, message: string): void
}

/** What every verb of control gets as its first argument. */
export interface Context {
  readonly db: Database
  readonly node: NodeApi
  readonly clock: Clock
  /** So many random bytes, from a source fit for keys. */
  readonly random: (bytes: number) => Uint8Array
  readonly logger: Logger
  readonly limits: ControlLimits
  readonly keys: KeyCache
  readonly owners: OwnerCache
  readonly hub: EventHub
  readonly turns: Turns
  readonly base: BaseTemplate
  readonly builds: RunningBuilds
  readonly followers: FollowerGate
  /** Sandboxes whose creation is under way in this process: the node may not know them yet. */
  readonly creating: Set<string>
  readonly tokenKey: Uint8Array
  readonly ports: PortCache
  /** Where a browser finds a port. */
  readonly portUrl: (sandbox: string, port: number) => string
  readonly closed: AbortSignal
}

/** Who is calling. */
export interface Caller {
  readonly key: string
  readonly project: string
  readonly scopes: ReadonlySet<string>
}
