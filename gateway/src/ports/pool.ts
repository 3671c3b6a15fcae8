import { Agent, type ClientRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import type { PortDeps } from './port-deps.ts'
import { type Reach, reach } from './reach.ts'

/** Connections to guests, kept for a moment between two requests to the same port of the same sandbox. */
export interface Pool extends Reach {
  /** For node:http, which asks by host (the sandbox) and port. */
  readonly agent: Agent
  /** Gives up what is kept to a sandbox. */
  forget(sandbox: string): void
  close(): void
}

/**
 * A kept connection goes with its machine, so it never leads to another boot; and it holds the sandbox, so it is
 * kept for two seconds only.
 */
export const connectionPool = (deps: PortDeps): Pool => {
  const idle = new Map<string, Set<Duplex>>()
  const forget = (socket: Duplex, sandbox: string): void => {
    const sockets = idle.get(sandbox)
    sockets?.delete(socket)
    if (sockets?.size === 0) idle.delete(sandbox)
  }
  const counted = reach(deps, (sandbox) => {
    const oldest = idle.get(sandbox)?.values().next()
    if (oldest === undefined || oldest.done === true) return false
    forget(oldest.value, sandbox)
    oldest.value.destroy()
    return true
  })
  const giveUp = (sandbox: string): void => {
    for (const socket of idle.get(sandbox) ?? []) socket.destroy()
  }
  const agent = new KeptAgent(deps.limits.idleConnections, {
    connect: (sandbox, port) => counted.open({ sandbox, port }, new AbortController().signal, false),
    keep(socket, sandbox) {
      const sockets = idle.get(sandbox) ?? new Set()
      idle.set(sandbox, sockets.add(socket))
      const timer = setTimeout(() => socket.destroy(), deps.limits.idleConnectionMs)
      const leave = (): void => {
        clearTimeout(timer)
        socket.off('close', leave)
        forget(socket, sandbox)
      }
      socket.once('close', leave)
      return leave
    },
  })
  return {
    agent,
    open: (where, signal, half) => counted.open(where, signal, half),
    forget: giveUp,
    close: () => agent.destroy(),
  }
}

interface Keeping {
  connect(sandbox: string, port: number): Promise<Duplex>
  /** Answers what ends the keeping. */
  keep(socket: Duplex, sandbox: string): () => void
}

/** node:http's agent over guests' streams. A class because node:http has no other way to give it one. */
class KeptAgent extends Agent {
  readonly #keeping: Keeping
  readonly #sandboxes = new WeakMap<Duplex, string>()
  readonly #leave = new WeakMap<Duplex, () => void>()

  constructor(idleConnections: number, keeping: Keeping) {
    super({ keepAlive: true, maxFreeSockets: idleConnections, scheduling: 'lifo' })
    this.#keeping = keeping
  }

  override createConnection(
    options: { host?: string | null; port?: string | number | null },
    give?: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    const sandbox = options.host ?? ''
    this.#keeping.connect(sandbox, Number(options.port)).then(
      (socket) => {
        this.#sandboxes.set(socket, sandbox)
        give?.(null, socket)
      },
      // node:http looks at the error only, and gives it to the request.
      (error: Error) => give?.(error, undefined as unknown as Duplex),
    )
  }

  override keepSocketAlive(socket: Duplex): boolean {
    this.#leave.set(socket, this.#keeping.keep(socket, this.#sandboxes.get(socket) ?? ''))
    return true
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    this.#leave.get(socket)?.()
    super.reuseSocket(socket, request)
  }
}
