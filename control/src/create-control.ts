import { getRequestListener } from '@hono/node-server'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '@atoll/kit'
import { type CreatedKey, type NodeApi, portHostLabel, quotaSchema } from '@atoll/protocol'
import type { Gates } from './access/authenticate.ts'
import { type Authorize, authorizer } from './access/authorize.ts'
import { tokenBuckets } from './access/buckets.ts'
import { keyCache } from './access/key-cache.ts'
import { makeKey } from './access/keys.ts'
import { ownerCache } from './access/owner-cache.ts'
import { createProject } from './access/projects.ts'
import { openTokenKey } from './access/sandbox-token.ts'
import { turns } from './access/turns.ts'
import type { Context, Logger } from './context.ts'
import { eventHub } from './events/hub.ts'
import { followerGate } from './events/follower-gate.ts'
import { followNode } from './fleet/follow.ts'
import { reconcile } from './fleet/reconcile.ts'
import { reconcileSnapshots } from './fleet/reconcile-snapshots.ts'
import { sweep } from './fleet/sweep.ts'
import { controlApp } from './http/app.ts'
import type { App } from './http/environment.ts'
import { type ControlLimits, controlLimits } from './limits.ts'
import { type AuthorizePort, portAuthorizer } from './ports/authorize-port.ts'
import { portCache } from './ports/port-cache.ts'
import { openStore } from './store/open.ts'
import { baseTemplate } from './templates/base.ts'
import { failLostBuilds } from './templates/builds.ts'
import { runningBuilds } from './templates/running-builds.ts'

export interface ControlDeps {
  readonly dataFolder: string
  readonly node: NodeApi
  readonly clock: Clock
  /** So many random bytes, from a source fit for keys. */
  readonly random: (bytes: number) => Uint8Array
  readonly logger: Logger
  readonly limits?: Partial<ControlLimits>
  /** Where a browser finds a port; by default below `localhost`. */
  readonly portUrl?: (sandbox: string, port: number) => string
}

export interface Control {
  readonly app: App
  /** The app as a handler of node:http. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => Promise<void>
  /** What the gateway asks before a call reaches a guest. */
  readonly authorize: Authorize
  /** The same for a connection to a port. */
  readonly authorizePort: AuthorizePort
  /** Only at the very first start: the admin key of the project `default`. Show it once. */
  readonly firstKey: CreatedKey | undefined
  /** Stops following the node and closes the database; sandboxes go on (invariant 3). */
  close(): Promise<void>
}

/** Opens the records, takes over what the node runs, and gives the API. */
export const createControl = async (deps: ControlDeps): Promise<Control> => {
  await using stack = new AsyncDisposableStack()
  const limits: ControlLimits = { ...controlLimits, ...deps.limits }
  const db = await openStore(deps.dataFolder)
  stack.defer(() => db.destroy())
  const closing = new AbortController()
  const context: Context = {
    ...deps,
    db,
    limits,
    keys: keyCache(db, limits.keysCached),
    owners: ownerCache(db, limits.sandboxesCached),
    hub: eventHub(),
    turns: turns(),
    creating: new Set(),
    followers: followerGate(limits.followers),
    builds: runningBuilds(limits),
    base: baseTemplate({ ...deps, db, closed: closing.signal }),
    tokenKey: await openTokenKey(deps.dataFolder, deps.random),
    ports: portCache(db),
    portUrl: deps.portUrl ?? ((sandbox, port) => `http://${portHostLabel(sandbox, port)}.localhost`),
    closed: closing.signal,
  }
  stack.defer(() => context.keys.flushUsed())
  stack.defer(() => context.builds.idle())
  const firstKey = await firstStart(context)
  await failLostBuilds(context)
  await sweep(context)
  await reconcile(context)
  await reconcileSnapshots(context)
  stack.use(await followNode(context))
  stack.use(every(context, limits.sweepMs, sweep))
  stack.use(every(context, limits.lastUsedFlushMs, () => context.keys.flushUsed()))
  stack.defer(() => closing.abort())
  const gates = makeGates(context)
  const app = controlApp(context, gates)
  const authorize = authorizer(context, gates)
  const held = stack.move()
  return {
    app,
    listener: getRequestListener((request, env) => app.fetch(request, env), { overrideGlobalObjects: false }),
    authorize,
    authorizePort: portAuthorizer(context, gates, authorize),
    firstKey,
    close: () => held.disposeAsync(),
  }
}

const firstStart = async (context: Context): Promise<CreatedKey | undefined> => {
  const known = await context.db.selectFrom('keys').select('id').limit(1).executeTakeFirst()
  if (known !== undefined) return undefined
  const before = await context.db.selectFrom('projects').select('id').limit(1).executeTakeFirst()
  const project = before?.id ?? (await createProject(context, 'default', quotaSchema.parse({}))).id
  return await makeKey(context, project, 'first', ['admin'])
}

const makeGates = ({ clock, limits }: Context): Gates => ({
  requests: tokenBuckets(clock, {
    perSecond: limits.keyRequestsPerSecond,
    burst: limits.keyRequestsBurst,
    kept: limits.bucketsKept,
  }),
  failures: tokenBuckets(clock, {
    perSecond: limits.failuresPerSecond,
    burst: limits.failuresBurst,
    kept: limits.bucketsKept,
  }),
})

/** Repeats an act; one at a time, and a failure is logged and tried again the next time. */
const every = (context: Context, ms: number, act: (context: Context) => Promise<void>): AsyncDisposable => {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= act(context)
      .catch((error: unknown) => context.logger.error({ error: String(error) }, 'a periodic task failed'))
      .finally(() => void (running = undefined))
  }, ms)
  timer.unref()
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await running
    },
  }
}
