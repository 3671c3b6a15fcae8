import { type ClientHttp2Session, connect } from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Duplex } from 'node:stream'
import { backoffMs } from '@atoll/kit'
import { AtollError } from '@atoll/protocol'
import { guestFault } from './faults.ts'
import { guestLimits, openBackoff } from './limits.ts'

/** Gives one link session to the agent; the driver's secret how. */
export type ConnectGuest = (signal: AbortSignal) => Promise<Duplex>

/** Opens an HTTP/2 session whose agent has answered; a few tries, bounded by `timeoutMs` together. */
export const openSession = async (
  connectGuest: ConnectGuest,
  random: () => number,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<ClientHttp2Session> => {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  let fault: unknown
  for (let attempt = 0; attempt < guestLimits.openAttempts && !deadline.aborted; attempt++) {
    if (attempt > 0) await pause(backoffMs(openBackoff, attempt, random()), deadline)
    try {
      return await greet(await connectGuest(deadline), deadline)
    } catch (error) {
      fault = error
    }
  }
  signal.throwIfAborted()
  throw guestFault('cannot open a session', fault ?? deadline.reason, 'open')
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined)

/** Of every session; the types know it of servers only. Node's default of 1,000 ended one that was in good order. */
const enduring = { maxSessionInvalidFrames: guestLimits.invalidFrames }

/** Waits for the agent's settings: what accepts a connection need not be alive. */
const greet = (duplex: Duplex, signal: AbortSignal): Promise<ClientHttp2Session> =>
  new Promise((resolve, reject) => {
    const session = connect('http://guest', {
      ...enduring,
      createConnection: () => duplex,
      maxSessionMemory: guestLimits.sessionMemoryMib,
      maxHeaderListPairs: guestLimits.headerPairs,
      settings: {
        enablePush: false,
        initialWindowSize: guestLimits.streamWindowBytes,
        maxFrameSize: guestLimits.frameBytes,
        maxHeaderListSize: guestLimits.headerListBytes,
      },
    })
    const settle = (fault?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      session.off('close', onClose)
      session.off('remoteSettings', onSettings)
      session.off('error', settle)
      // Later faults of the session reach its streams; without a listener they would end the process.
      session.on('error', () => undefined)
      if (fault === undefined) resolve(session)
      else {
        session.destroy()
        duplex.destroy()
        reject(fault instanceof Error ? fault : new Error('the session ended'))
      }
    }
    const onAbort = (): void =>
      settle(new AtollError('guest_unreachable', 'cannot open a session: the guest agent does not answer'))
    const onClose = (): void => settle(new Error('the session ended before the agent answered'))
    const onSettings = (): void => {
      session.setLocalWindowSize(guestLimits.sessionWindowBytes)
      settle()
    }
    session.once('remoteSettings', onSettings)
    session.once('close', onClose)
    session.once('error', settle)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
  })
