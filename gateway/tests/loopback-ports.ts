import { connect } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { AtollError, type GuestRequest, type GuestResponse, type NodeApi } from '@atoll/protocol'

/** What a test sees of the connections into "the sandbox". */
export interface LoopbackPorts {
  wrap(node: NodeApi): NodeApi
  /** Opened so far, and open now. */
  readonly opened: number
  readonly open: number
  /** What the node says instead of connecting, so many times. */
  refuseNext(error: AtollError, times: number): void
}

/**
 * The simulated runtime has no network, so a port inside is taken for the same port of this machine's loopback: what
 * is behind it is a real server over a real socket, and the gateway cannot tell the difference.
 */
export const loopbackPorts = (): LoopbackPorts => {
  const seen = { opened: 0, open: 0 }
  let refusals: AtollError[] = []
  const guest = async (port: number, request: GuestRequest): Promise<GuestResponse> => {
    const refusal = refusals.shift()
    if (refusal !== undefined) throw refusal
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    try {
      await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    } catch {
      const body = JSON.stringify({ code: 'connection_refused', message: `cannot connect to port ${port}` })
      return { status: 422, headers: {}, body: Readable.from([Buffer.from(body)], { objectMode: false }) }
    }
    seen.opened++
    seen.open++
    socket.once('close', () => seen.open--)
    const source = request.body as Readable
    source.once('close', () => {
      if (!source.readableEnded) socket.destroy()
    })
    source.pipe(socket)
    const body = new PassThrough()
    socket.pipe(body)
    socket.on('error', (error) => body.destroy(error))
    body.on('error', () => undefined)
    body.once('close', () => socket.destroy())
    return { status: 200, headers: {}, body }
  }
  return {
    get opened() {
      return seen.opened
    },
    get open() {
      return seen.open
    },
    refuseNext(error, times) {
      refusals = Array.from({ length: times }, () => error)
    },
    wrap: (node) => ({
      ...node,
      guest: (id, request) => {
        const port = /^\/v1\/ports\/(\d+)$/.exec(request.path)?.[1]
        return port === undefined ? node.guest(id, request) : guest(Number(port), request)
      },
    }),
  }
}
