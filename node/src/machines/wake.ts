import { AtollError, type GuestRequest } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context, Live } from './context.ts'
import { endedError } from './end.ts'
import { recordOf } from './present.ts'
import { resumeSandbox } from './resume.ts'
import { stoppedError } from './stopped-error.ts'

/** Pauses that one call may meet before it gives up. */
const maxPauses = 3

/**
 * The machine that a call is for, brought back first where its lease says so. One resume serves all who call at
 * the same time, and goes on when a caller leaves.
 */
export const wake = async (context: Context, id: string, request: GuestRequest): Promise<Live> => {
  for (let met = 0; met < maxPauses; met++) {
    const live = context.live.get(id)
    if (live !== undefined && !live.standing) return live
    const record = recordOf(context, id)
    const mayWake = record.lease.autoResume && !isPassive(request)
    switch (record.state) {
      case 'running':
        // A pause of it is under way, or a resume has just ended.
        if (live === undefined) throw elsewhere(record)
        await beforeLeaving(mayWake ? resumeSandbox(context, id, 'call') : lineOf(context, id), request)
        break
      case 'pausing':
      case 'paused':
        if (!mayWake) throw pausedError(id, record)
        await beforeLeaving(resumeSandbox(context, id, 'call'), request)
        break
      case 'resuming':
        await beforeLeaving(resumeSandbox(context, id, 'call'), request)
        break
      default:
        throw elsewhere(record)
    }
  }
  throw elsewhere(recordOf(context, id))
}

/** What only looks wakes nobody, and holds nothing. */
const isPassive = ({ method, path }: GuestRequest): boolean =>
  method === 'GET' && /^\/v1\/(metrics|health)(\?|$)/.test(path)

const lineOf = async (context: Context, id: string): Promise<void> => {
  await context.lines.get(id)?.result.catch(() => undefined)
}

const beforeLeaving = async (work: Promise<void>, { signal }: GuestRequest): Promise<void> => {
  if (signal === undefined) return await work
  const left = Promise.withResolvers<never>()
  const leave = (): void => left.reject(new AtollError('canceled', 'the caller went away during a resume'))
  signal.addEventListener('abort', leave, { once: true })
  if (signal.aborted) leave()
  try {
    await Promise.race([work, left.promise])
  } finally {
    signal.removeEventListener('abort', leave)
    // It goes on for the next caller.
    work.catch(() => undefined)
    left.promise.catch(() => undefined)
  }
}

const pausedError = (id: string, { state }: SandboxRecord): AtollError =>
  new AtollError('state_conflict', `cannot reach ${id}: it is paused`, {
    sandboxState: state,
    retryable: false,
    remedy: 'resume it',
  })

const elsewhere = (record: SandboxRecord): AtollError => {
  if (record.ended !== null) return endedError(record, 'cannot reach')
  if (record.state === 'stopped') return stoppedError(record.id)
  return new AtollError('state_conflict', `cannot reach ${record.id}: it is ${record.state}; try again`, {
    sandboxState: record.state,
    retryable: true,
  })
}
