import { AtollError, type GuestRequest, type GuestResponse } from '@atoll/protocol'
import { exchange } from './exchange.ts'
import { guestLimits } from './limits.ts'
import { type ConnectGuest, openSession } from './open-session.ts'
import { type Watched, watched } from './watch-session.ts'

/** The channel to one sandbox's agent. */
export interface GuestConnection {
  /** One exchange. Answers of status 400 and above come back as responses; faults of the channel reject.
   * `onClosed` is called when the exchange is over, body included. */
  request(request: GuestRequest, onClosed?: () => void): Promise<GuestResponse>
  /** Requests under way. */
  readonly open: number
  /** While it stands still its silence is no fault, and requests under way wait. */
  hush(hushed: boolean): void
  /** Ends the session; requests under way and later ones reject with `reason`. */
  close(reason: AtollError): void
}

/** Called once when the agent stopped answering, with the fault, and once when it answers again. */
export type OnReach = (fault: AtollError | undefined) => void

/** One session per sandbox, opened at the first request and again after a loss. */
export const guestConnection = (
  connectGuest: ConnectGuest,
  random: () => number,
  onReach: OnReach = () => undefined,
): GuestConnection => {
  const ending = new AbortController()
  let session: Watched | undefined
  let opening: Promise<Watched> | undefined
  let lost = false
  let isHushed = false

  const note = (fault: AtollError | undefined): void => {
    if (ending.signal.aborted || lost === (fault !== undefined)) return
    lost = fault !== undefined
    onReach(fault)
  }
  const open = async (): Promise<Watched> => {
    // While it is known not to answer nobody waits for it as long as the first one did.
    const timeoutMs = lost ? guestLimits.openLostTimeoutMs : guestLimits.openTimeoutMs
    try {
      const opened = watched(await openSession(connectGuest, random, ending.signal, timeoutMs), note)
      if (ending.signal.aborted) opened.http2.destroy()
      ending.signal.throwIfAborted()
      opened.watch.hush(isHushed)
      session = opened
      note(undefined)
      return opened
    } catch (error) {
      if (error instanceof AtollError && error.code === 'guest_unreachable') note(error)
      throw error
    } finally {
      opening = undefined
    }
  }
  return {
    async request(request, onClosed) {
      ending.signal.throwIfAborted()
      const usable = session !== undefined && isUsable(session) ? session : await (opening ??= open())
      return await exchange(usable, request, onClosed)
    },
    hush(hushed) {
      isHushed = hushed
      session?.watch.hush(hushed)
    },
    get open() {
      return session === undefined || session.http2.destroyed ? 0 : session.watch.open
    },
    close(reason) {
      ending.abort(reason)
      session?.fail(reason)
    },
  }
}

const isUsable = ({ http2 }: Watched): boolean => !http2.destroyed && !http2.closed
