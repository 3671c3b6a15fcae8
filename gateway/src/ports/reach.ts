import type { Duplex } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { lost, openGuestSocket } from './guest-socket.ts'
import type { PortDeps } from './port-deps.ts'

/** Counts connections into guests. */
export interface Reach {
  /** One connection. Waits for a sandbox that is about to run, and for no other. */
  open(where: Where, signal: AbortSignal, allowHalfOpen: boolean): Promise<Duplex>
}

interface Where {
  readonly sandbox: string
  readonly port: number
}

/** Opens connections within the limits; `makeRoom` closes one that nobody uses, and says whether there was one. */
export const reach = (deps: PortDeps, makeRoom: (sandbox: string) => boolean): Reach => {
  const counts = new Map<string, number>()
  let total = 0
  const add = (sandbox: string, by: 1 | -1): void => {
    total += by
    const count = (counts.get(sandbox) ?? 0) + by
    if (count === 0) counts.delete(sandbox)
    else counts.set(sandbox, count)
  }
  return {
    async open(where, signal, allowHalfOpen) {
      const { sandbox, port } = where
      const { limits } = deps
      if ((counts.get(sandbox) ?? 0) >= limits.connectionsPerSandbox && !makeRoom(sandbox))
        throw tooMany(`${limits.connectionsPerSandbox} connections to ${sandbox}`, port)
      if (total >= limits.connections) throw tooMany(`${limits.connections} connections to sandboxes`, port)
      add(sandbox, 1)
      try {
        const socket = await whenAwake(deps, where, signal, allowHalfOpen)
        if (socket.destroyed) throw lost()
        socket.once('close', () => add(sandbox, -1))
        return socket
      } catch (error) {
        add(sandbox, -1)
        throw error
      }
    },
  }
}

const tooMany = (what: string, port: number): AtollError =>
  new AtollError('overloaded', `cannot connect to port ${port}: ${what} are open; close some or wait`)

/** The node resumes what is paused and may be woken; here is waited for what it is already about to start. */
const whenAwake = async (
  deps: PortDeps,
  where: Where,
  signal: AbortSignal,
  allowHalfOpen: boolean,
): Promise<Duplex> => {
  const until = deps.clock.monotonic() + deps.limits.wakeMs
  for (;;)
    try {
      return await openGuestSocket(deps, where, signal, allowHalfOpen)
    } catch (error) {
      const waiting = error instanceof AtollError && error.code === 'state_conflict' && error.retryable
      if (!waiting || signal.aborted || deps.clock.monotonic() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, deps.limits.wakeRetryMs))
    }
}
