import type { ClientHttp2Session } from 'node:http2'
import { AtollError } from '@atoll/protocol'
import { guestLimits } from './limits.ts'

/** A session with what watches it. */
export interface Watched {
  readonly http2: ClientHttp2Session
  readonly watch: ReturnType<typeof watchSession>
  /** Why it was given up, once it was. */
  readonly fault: () => AtollError | undefined
  readonly fail: (reason: AtollError) => void
}

/** Puts a session under watch; `onDead` is called when its agent stopped answering. */
export const watched = (http2: ClientHttp2Session, onDead: (fault: AtollError) => void): Watched => {
  let fault: AtollError | undefined
  const fail = (reason: AtollError): void => {
    fault ??= reason
    http2.destroy(reason)
  }
  const die = (reason: AtollError): void => {
    fail(reason)
    onDead(reason)
  }
  return { http2, watch: watchSession(http2, die), fault: () => fault, fail }
}

/**
 * Pings the agent while requests are open, so that a wedged one is noticed in seconds.
 * `begin` at each request, `end` at its end; calls back once when no answer came.
 */
const watchSession = (session: ClientHttp2Session, onDead: (error: AtollError) => void) => {
  let open = 0
  let timer: NodeJS.Timeout | undefined
  let isHushed = false
  const stop = (): void => {
    clearInterval(timer)
    timer = undefined
  }
  const ask = (): void => {
    if (session.destroyed || session.closed) return stop()
    if (isHushed) return
    let answered = false
    const late = setTimeout(() => {
      // A daemon that was itself stopped for seconds looks at what has arrived before it judges.
      setImmediate(() => {
        if (answered || isHushed || session.destroyed) return
        stop()
        onDead(
          new AtollError(
            'guest_unreachable',
            `the guest agent answers no ping for ${guestLimits.pingTimeoutMs} ms; ask for the sandbox's state`,
          ),
        )
      })
    }, guestLimits.pingTimeoutMs)
    late.unref()
    const sent = session.ping(() => {
      answered = true
      clearTimeout(late)
    })
    if (!sent) clearTimeout(late)
  }
  session.once('close', stop)
  return {
    begin: (): void => {
      open++
      if (timer !== undefined) return
      timer = setInterval(ask, guestLimits.pingEveryMs)
      timer.unref()
    },
    end: (): void => {
      open--
      if (open === 0) stop()
    },
    /** While its guest stands still no answer is no fault. */
    hush: (hushed: boolean): void => {
      isHushed = hushed
    },
    get open() {
      return open
    },
  }
}
