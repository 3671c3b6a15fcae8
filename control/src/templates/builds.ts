import { AtollError, type Build } from '@atoll/protocol'
import type { Caller, Context } from '../context.ts'
import type { LogSource } from '../events/lines.ts'
import type { BuildRow } from '../store/tables.ts'
import { viewBuild } from './view.ts'

const findBuild = async (context: Context, caller: Caller, id: string): Promise<BuildRow> => {
  const row = await context.db.selectFrom('builds').selectAll().where('id', '=', id).executeTakeFirst()
  if (row !== undefined && (row.project === caller.project || caller.scopes.has('admin'))) return row
  throw new AtollError('not_found', `cannot find build ${id}: this project never had it`)
}

/** One build. */
export const getBuild = async (context: Context, caller: Caller, id: string): Promise<Build> =>
  viewBuild(await findBuild(context, caller, id))

/** Cancels a build; one that ended stays as it ended. */
export const cancelBuild = async (context: Context, caller: Caller, id: string): Promise<Build> => {
  const row = await findBuild(context, caller, id)
  if (row.state !== 'running') return viewBuild(row)
  context.builds.cancel(id)
  const deadline = context.clock.monotonic() + context.limits.createDeadlineMs
  while (context.clock.monotonic() < deadline) {
    using armed = context.hub.arm(id)
    const now = await findBuild(context, caller, id)
    if (now.state !== 'running') return viewBuild(now)
    await armed.wait(1_000, context.closed)
  }
  throw new AtollError('deadline_node', `cannot cancel build ${id}: the node has not ended it yet; ask again`)
}

/** A build's log as a source of lines. */
export const buildLogSource = async (context: Context, caller: Caller, id: string): Promise<LogSource> => {
  await findBuild(context, caller, id)
  return {
    name: id,
    async page(after) {
      const rows = await context.db
        .selectFrom('build_events')
        .selectAll()
        .where('build', '=', id)
        .where('seq', '>', after)
        .orderBy('seq')
        .limit(context.limits.eventPageCount)
        .execute()
      return rows.map((row) => ({ seq: row.seq, line: row.data }))
    },
    async finished() {
      return (await findBuild(context, caller, id)).state !== 'running' && !context.builds.has(id)
    },
  }
}

/** After a start: what was under way when control stopped did not end by itself. */
export const failLostBuilds = async (context: Context): Promise<void> => {
  const error = new AtollError(
    'build_failed',
    'control stopped while this build ran; begin it again: finished steps are cached',
  )
  await context.db
    .updateTable('builds')
    .set({ state: 'failed', error: JSON.stringify(error.toBody()), ended_at_ms: context.clock.now() })
    .where('state', '=', 'running')
    .execute()
}
