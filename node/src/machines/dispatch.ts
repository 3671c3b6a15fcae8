import { AtollError, type GuestRequest, type GuestResponse, type Holder } from '@atoll/protocol'
import type { Context, Live } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import { recordOf } from './present.ts'
import { stoppedError } from './stop.ts'

/** One exchange with a sandbox's guest: the hot path of exec, without a look into the database. */
export const dispatch = (context: Context, id: string, request: GuestRequest): Promise<GuestResponse> => {
  const live = context.live.get(id)
  if (live === undefined) return Promise.reject(whyNot(context, id))
  return request.holder === undefined
    ? live.guest.request(request)
    : held(context, live, request, request.holder)
}

const whyNot = (context: Context, id: string): AtollError => {
  try {
    const record = recordOf(context, id)
    if (record.ended !== null) return endedError(record, 'cannot reach')
    if (record.state === 'stopped') return stoppedError(id)
    return new AtollError('state_conflict', `cannot reach ${id}: it is ${record.state}; try again`, {
      sandboxState: record.state,
      retryable: true,
    })
  } catch (error) {
    return error instanceof AtollError ? error : new AtollError('internal', String(error))
  }
}

/** The holder goes when the answer's body has been read to its end or was given up. */
const held = async (
  context: Context,
  live: Live,
  request: GuestRequest,
  holder: { readonly kind: Holder['kind']; readonly name: string },
): Promise<GuestResponse> => {
  if (live.exchanges.size >= machineLimits.exchangesPerSandbox)
    throw new AtollError(
      'overloaded',
      `cannot ask ${live.id}: ${machineLimits.exchangesPerSandbox} exchanges are open; close one`,
    )
  const entry: Holder = { ...holder, sinceMs: context.clock.now(), untilMs: null }
  live.exchanges.add(entry)
  const release = (): void => {
    live.lastHeldMs = context.clock.now()
    live.exchanges.delete(entry)
  }
  try {
    return await live.guest.request(request, release)
  } catch (error) {
    release()
    throw error
  }
}
