import { AtollError, type NodeSandbox, type SandboxState } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'

/** The record of a sandbox that the node had. */
export const recordOf = (context: Context, id: string): SandboxRecord => {
  const record = context.records.sandboxes.get(id)
  if (record === undefined)
    throw new AtollError('not_found', `there is no sandbox ${id} on this node, nor a record of one`)
  return record
}

/** A sandbox as the node answers it: what runs is probed now (invariant 3). */
export const present = async (context: Context, record: SandboxRecord): Promise<NodeSandbox> => {
  const live = context.live.get(record.id)
  const isFrozen = record.state === 'paused' && record.depth === 'frozen'
  if (record.state !== 'running' && !isFrozen) return shown(record, record.state)
  if (live === undefined)
    throw new AtollError(
      'guest_unreachable',
      `cannot tell the state of ${record.id}: the daemon came back and has not reached its machine yet; try again or delete it`,
    )
  const state = await probed(record.id, live.machine.state(AbortSignal.timeout(machineLimits.probeMs)))
  // What was paused by a verb is so until a verb resumes it: while it is captured it runs for moments.
  if (state !== 'ended' && (isFrozen || state === 'frozen'))
    return shown({ ...record, depth: 'frozen' }, 'paused')
  if (state !== 'ended') return shown(record, 'running')
  // The host knows of the end before we recorded it: the end that is being recorded answers.
  await context.ends.get(record.id)?.catch(() => undefined)
  const now = recordOf(context, record.id)
  return shown(now, now.ended === null && now.state === record.state ? 'deleting' : now.state)
}

/** One whose guest has just taken its identity: that was the probe. */
export const presentAdopted = (context: Context, id: string): NodeSandbox => {
  const record = recordOf(context, id)
  return shown(record, record.state)
}

const probed = async <State>(id: string, state: Promise<State>): Promise<State> => {
  try {
    return await state
  } catch (error) {
    throw new AtollError(
      'guest_unreachable',
      `cannot tell the state of ${id}: its machine does not answer a probe; try again or delete it`,
      { cause: error },
    )
  }
}

const shown = (record: SandboxRecord, state: SandboxState): NodeSandbox => ({
  id: record.id,
  state,
  depth: state === 'paused' ? record.depth : null,
  generation: record.generation,
  isolation: record.isolation,
  limits: record.spec.limits,
  lease: record.lease,
  ended: record.ended,
  timings: record.timings,
})

/** All of them, a limited number of probes at a time; one that cannot be probed does not hide the others. */
export const presentAll = async (context: Context): Promise<NodeSandbox[]> => {
  const records = context.records.sandboxes.all()
  const answers: NodeSandbox[] = []
  for (let at = 0; at < records.length; at += machineLimits.probesAtATime)
    answers.push(
      ...(await Promise.all(
        records
          .slice(at, at + machineLimits.probesAtATime)
          .map((record) => present(context, record).catch(() => shown(record, record.state))),
      )),
    )
  return answers
}
