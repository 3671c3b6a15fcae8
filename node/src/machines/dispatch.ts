import { AtollError, type GuestRequest, type GuestResponse, type Holder } from '@atoll/protocol'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'
import { wake } from './wake.ts'

/** One exchange with a sandbox's guest: the hot path of exec, without a look into the database. */
export const dispatch = async (
  context: Context,
  id: string,
  request: GuestRequest,
): Promise<GuestResponse> => {
  const live = context.live.get(id)
  if (live === undefined || live.standing)
    return await send(context, await wake(context, id, request), request)
  return await send(context, live, request)
}

const send = async (context: Context, live: Live, request: GuestRequest): Promise<GuestResponse> => {
  if (live.standing) return await dispatch(context, live.id, request)
  if (!isStart(request)) return await exchange(context, live, request)
  // What stands still for a capture starts nothing; it is a matter of milliseconds.
  if (live.quiet !== undefined) await live.quiet
  if (live.standing) return await dispatch(context, live.id, request)
  const response = await exchange(context, live, request)
  if (response.status !== 409 || !(request.body instanceof Uint8Array)) return response
  if (live.quiet === undefined && !live.standing) return response
  // It came between the stop of the processes and this gate: nothing was started, so it is asked again.
  response.body.destroy()
  await live.quiet
  return await dispatch(context, live.id, request)
}

const isStart = ({ method, path }: GuestRequest): boolean =>
  method === 'PUT' && path.startsWith('/v1/processes/')

const exchange = (context: Context, live: Live, request: GuestRequest): Promise<GuestResponse> =>
  request.holder === undefined ? live.guest.request(request) : held(context, live, request, request.holder)

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
