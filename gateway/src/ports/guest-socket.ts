import { Duplex, PassThrough, Readable } from 'node:stream'
import { AtollError, type GuestResponse } from '@atoll/protocol'
import { guestFailure } from '../guest-failure.ts'
import type { PortDeps } from './port-deps.ts'

/** A TCP connection to a port inside, through the agent. It holds the sandbox for as long as it is open. */
export const openGuestSocket = async (
  deps: PortDeps,
  { sandbox, port }: { readonly sandbox: string; readonly port: number },
  signal: AbortSignal,
  allowHalfOpen: boolean,
): Promise<Duplex> => {
  const outward = new PassThrough({ highWaterMark: deps.limits.bufferBytes })
  // What goes wrong with it is told by the exchange.
  outward.on('error', () => undefined)
  try {
    const answer = await deps.node(sandbox).guest(sandbox, {
      method: 'POST',
      path: `/v1/ports/${port}`,
      body: outward,
      holder: { kind: 'connection', name: `port ${port}` },
      headersTimeoutMs: deps.limits.connectMs,
      signal,
    })
    if (answer.status >= 400)
      throw await guestFailure(answer, `cannot reach port ${port} of ${sandbox}`, deps.gatewayLimits)
    return joined(outward, answer.body, deps.limits.bufferBytes, allowHalfOpen)
  } catch (error) {
    outward.destroy()
    throw error
  }
}

/** Both ways as one stream. Destroying it resets the exchange, and the agent drops the connection. */
const joined = (
  outward: PassThrough,
  inward: GuestResponse['body'],
  bufferBytes: number,
  allowHalfOpen: boolean,
): Duplex => {
  const source = inward instanceof Readable ? inward : Readable.from(inward, { objectMode: false })
  const socket = new Duplex({
    allowHalfOpen,
    highWaterMark: bufferBytes,
    read: () => void source.resume(),
    write(chunk: Buffer, _encoding, callback) {
      if (outward.write(chunk)) return callback()
      // Held until the agent took it; a loss in between must not leave it waiting.
      const done = (): void => {
        outward.off('drain', done)
        outward.off('close', done)
        callback(outward.destroyed ? lost() : null)
      }
      outward.on('drain', done)
      outward.on('close', done)
    },
    final(callback) {
      outward.end(callback)
    },
    destroy(error, callback) {
      // Whole on both sides: nothing is to be reset.
      if (!outward.writableFinished || !source.readableEnded) outward.destroy()
      source.destroy()
      callback(error)
    },
  })
  source.on('data', (chunk: Buffer) => {
    if (!socket.push(chunk)) source.pause()
  })
  source.once('end', () => void socket.push(null))
  source.once('error', (error: Error) => void socket.destroy(error))
  source.once('close', () => {
    if (!source.readableEnded) socket.destroy(lost())
  })
  // Whoever uses it listens as well; a fault before that must not end the daemon.
  socket.on('error', () => undefined)
  return asSocket(socket)
}

/** The connection went in the moment that it was made, or later. */
export const lost = (): AtollError =>
  new AtollError('stream_broken', 'the connection into the sandbox was lost')

/** What node:http asks of a socket beyond a stream; here is no kernel's socket that it could be asked of. */
const asSocket = (stream: Duplex): Duplex =>
  Object.assign(stream, {
    setTimeout: () => stream,
    setNoDelay: () => stream,
    setKeepAlive: () => stream,
    ref: () => stream,
    unref: () => stream,
    // Answered in full: the server inside need not be waited for until it closes its side, too.
    destroySoon: () => void stream.end(() => stream.destroy()),
  })
