import { createServer, type IncomingHttpHeaders } from 'node:http2'
import { type Duplex, duplexPair, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { guestConnection } from './connection.ts'
import { guestLimits } from './limits.ts'

interface Received {
  readonly headers: IncomingHttpHeaders
  bytes: number
  trailers: IncomingHttpHeaders | undefined
  rstCode: number | undefined
}

/** An agent that takes each body whole, at a pace that a test may hold up, and notes what came. */
const sink = (hold: Promise<void> = Promise.resolve()) => {
  const received: Received[] = []
  const server = createServer()
  server.on('session', (session) => session.on('error', () => undefined))
  server.on('stream', (stream, headers) => {
    const seen: Received = { headers, bytes: 0, trailers: undefined, rstCode: undefined }
    received.push(seen)
    stream.on('error', () => undefined)
    stream.on('trailers', (trailers) => (seen.trailers = trailers))
    stream.on('close', () => (seen.rstCode = stream.rstCode))
    stream.on('end', () => {
      if (stream.destroyed) return
      stream.respond({ ':status': 200 })
      stream.end('taken')
    })
    void hold.then(() => stream.on('data', (chunk: Buffer) => (seen.bytes += chunk.length)))
  })
  const connect = async (): Promise<Duplex> => {
    const [ours, theirs] = duplexPair()
    theirs.on('error', () => undefined)
    server.emit('connection', theirs)
    return ours
  }
  return { guest: guestConnection(connect, Math.random), received }
}

const chunk = Buffer.alloc(64 * 1024, 1)

async function* chunks(count: number) {
  for (let index = 0; index < count; index++) yield chunk
}

const put = { method: 'PUT', path: '/v1/files?path=/f' } as const

describe('a streamed body', () => {
  it('tells its size after the last byte, where nobody knew it before', async () => {
    const { guest, received } = sink()
    const answer = await guest.request({ ...put, body: chunks(100) })
    expect(answer.status).toBe(200)
    expect(received[0]).toMatchObject({
      headers: { trailer: 'x-atoll-size' },
      bytes: 100 * chunk.length,
      trailers: { 'x-atoll-size': String(100 * chunk.length) },
    })
  })

  it.each(['x-atoll-size', 'content-length'])('promises nothing where %s tells it', async (name) => {
    const { guest, received } = sink()
    const headers = { [name]: String(3 * chunk.length) }
    expect((await guest.request({ ...put, headers, body: chunks(3) })).status).toBe(200)
    expect(received[0]).toMatchObject({ bytes: 3 * chunk.length, trailers: undefined })
    expect(received[0]?.headers.trailer).toBeUndefined()
  })

  it('ends without the trailer and with an error when its source fails half-way', async () => {
    const { guest, received } = sink()
    const broken = async function* () {
      yield* chunks(5)
      await expect.poll(() => received[0]?.bytes).toBeGreaterThan(0)
      throw new Error('the disk of the sender')
    }
    await expect(guest.request({ ...put, body: broken() })).rejects.toMatchObject({ code: 'canceled' })
    await expect.poll(() => received[0]?.rstCode).toBeGreaterThan(0)
    expect(received[0]?.trailers).toBeUndefined()
  })

  it('is an error when it was closed before it was sent', async () => {
    const { guest, received } = sink()
    const closed = Readable.from(chunks(1), { objectMode: false }).destroy()
    await expect(guest.request({ ...put, body: closed })).rejects.toMatchObject({ code: 'canceled' })
    expect(received[0]?.trailers).toBeUndefined()
  })

  it('takes from its source no more than the agent lets through', async () => {
    const { promise: hold, resolve: go } = Promise.withResolvers<void>()
    const { guest, received } = sink(hold)
    let taken = 0
    const counted = async function* () {
      for await (const part of chunks(400)) {
        taken += part.length
        yield part
      }
    }
    const answer = guest.request({ ...put, body: counted() })
    // The stream's window of the agent, what is under way here, and the buffers of two streams between.
    const roomBytes = 64 * 1024 + guestLimits.sendingBytes + 4 * chunk.length
    await expect.poll(() => taken).toBeGreaterThan(guestLimits.sendingBytes / 2)
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(taken).toBeLessThanOrEqual(roomBytes)
    go()
    expect((await answer).status).toBe(200)
    expect(received[0]?.bytes).toBe(400 * chunk.length)
  })

  it('is left alone by an agent that answers without reading it', async () => {
    const server = createServer()
    server.on('stream', (stream) => {
      stream.on('error', () => undefined)
      stream.respond({ ':status': 413 })
      stream.end('{}')
      stream.close()
    })
    const connect = async (): Promise<Duplex> => {
      const [ours, theirs] = duplexPair()
      server.emit('connection', theirs)
      return ours
    }
    const guest = guestConnection(connect, Math.random)
    const body = Readable.from(chunks(10_000), { objectMode: false })
    const answer = await guest.request({ ...put, body })
    expect(answer.status).toBe(413)
    for await (const part of answer.body) expect(part.length).toBe(2)
    await expect.poll(() => body.destroyed).toBe(true)
  })
})
