import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { type Duplex, duplexPair } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { askHealth, guestGeneration } from './calls.ts'
import { guestConnection } from './connection.ts'
import { guestLimits } from './limits.ts'
import { readJson } from './read-json.ts'

type Answer = (stream: ServerHttp2Stream, path: string) => void

/** An agent that does what a test says; counts sessions. */
const agent = (answer: Answer) => {
  const sessions: ServerHttp2Session[] = []
  const wires: Duplex[] = []
  const server = createServer()
  server.on('session', (session) => {
    session.on('error', () => undefined)
    sessions.push(session)
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    answer(stream, headers[':path'] ?? '')
  })
  const connect = async (): Promise<Duplex> => {
    const [ours, theirs] = duplexPair()
    theirs.on('error', () => undefined)
    wires.push(theirs)
    server.emit('connection', theirs)
    return ours
  }
  return { connect, sessions, wires }
}

const json = (stream: ServerHttp2Stream, value: unknown, status = 200): void => {
  stream.respond({ ':status': status, 'content-type': 'application/json' })
  stream.end(JSON.stringify(value))
}

const get = (path: string, more = {}) => ({ method: 'GET' as const, path, ...more })

const text = async (body: AsyncIterable<Uint8Array>): Promise<string> => {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

describe('the channel to a guest', () => {
  it('keeps one session, and opens another after a loss', async () => {
    const { connect, sessions } = agent((stream) => json(stream, {}))
    const guest = guestConnection(connect, Math.random)
    const answers = await Promise.all([guest.request(get('/a')), guest.request(get('/b'))])
    for (const answer of answers) await text(answer.body)
    expect(sessions.length).toBe(1)
    sessions[0]!.destroy()
    await expect
      .poll(async () => (await guest.request(get('/c')).catch(() => undefined))?.status, { timeout: 3_000 })
      .toBe(200)
    expect(sessions.length).toBe(2)
    expect(guest.open).toBe(1)
  })

  it('tries again for a while, then says that the guest is not there', async () => {
    let tries = 0
    const guest = guestConnection(async () => {
      tries++
      throw new Error('nobody listens')
    }, Math.random)
    await expect(guest.request(get('/'))).rejects.toMatchObject({
      code: 'guest_unreachable',
      retryable: true,
    })
    expect(tries).toBe(guestLimits.openAttempts)
  })

  it("calls the node's deadline by its name", async () => {
    const { connect } = agent(() => undefined)
    const guest = guestConnection(connect, Math.random)
    await expect(guest.request(get('/slow', { headersTimeoutMs: 50 }))).rejects.toMatchObject({
      code: 'deadline_node',
    })
  })

  it('notices a wedged agent while a stream waits', { timeout: 20_000 }, async () => {
    const { connect, wires } = agent((stream) => {
      stream.respond({ ':status': 200 })
      stream.write('begun')
    })
    const reach: (string | undefined)[] = []
    const guest = guestConnection(connect, Math.random, (fault) => reach.push(fault?.code))
    const answer = await guest.request(get('/output'))
    const began = Date.now()
    // What arrives is no longer read: no ping is answered.
    wires[0]!.pause()
    wires[0]!.read = () => null
    wires[0]!.write = () => true
    await expect(text(answer.body)).rejects.toMatchObject({ code: 'guest_unreachable' })
    expect(Date.now() - began).toBeLessThan(guestLimits.pingEveryMs + guestLimits.pingTimeoutMs + 2_000)
    expect(reach).toEqual(['guest_unreachable'])
    ;(await guest.request(get('/output'))).body.destroy()
    expect(reach, 'told once each').toEqual(['guest_unreachable', undefined])
  })

  it('breaks a body off with an error, never with an end', async () => {
    const { connect, sessions } = agent((stream) => {
      stream.respond({ ':status': 200, 'content-length': 100 })
      stream.write('half')
    })
    const guest = guestConnection(connect, Math.random)
    const answer = await guest.request(get('/file'))
    setTimeout(() => sessions[0]!.destroy(), 20)
    await expect(text(answer.body)).rejects.toMatchObject({ code: 'stream_broken' })
  })

  it('breaks off what announced no length, too', async () => {
    const { connect, wires } = agent((stream) => {
      stream.respond({ ':status': 200 })
      stream.write('half')
    })
    const guest = guestConnection(connect, Math.random)
    const answer = await guest.request(get('/tar'))
    setTimeout(() => wires[0]!.end(), 20)
    await expect(text(answer.body)).rejects.toMatchObject({ code: 'stream_broken' })
  })

  it('does not take a body that was reset without an error for whole', async () => {
    const { connect } = agent((stream) => {
      stream.respond({ ':status': 200, 'content-length': 100 })
      stream.write('half', () => stream.close(0))
    })
    const guest = guestConnection(connect, Math.random)
    const answer = await guest.request(get('/file'))
    await expect(text(answer.body)).rejects.toMatchObject({ code: 'stream_broken' })
  })

  it('endures thousands of readers that leave before the end, in one session', {
    timeout: 60_000,
  }, async () => {
    const { connect, sessions } = agent((stream, path) => {
      stream.respond({ ':status': 200 })
      if (path === '/long') return
      stream.write('nearly all')
      setImmediate(() => stream.end('the end'))
    })
    const guest = guestConnection(connect, Math.random)
    const long = await guest.request(get('/long'))
    let fault: unknown
    text(long.body).catch((error: unknown) => (fault = error))
    for (let n = 0; n < 2_000; n++) (await guest.request(get('/short'))).body.destroy()
    await expect.poll(() => guest.open, { timeout: 5_000 }).toBe(1)
    expect([fault, sessions.length]).toEqual([undefined, 1])
    long.body.destroy()
  })

  it('ends requests with the reason it was closed for', async () => {
    const { connect } = agent(() => undefined)
    const guest = guestConnection(connect, Math.random)
    const waiting = expect(guest.request(get('/'))).rejects.toMatchObject({ code: 'sandbox_ended' })
    await new Promise((resolve) => setTimeout(resolve, 30))
    guest.close(new AtollError('sandbox_ended', 'it ended'))
    await waiting
    await expect(guest.request(get('/'))).rejects.toMatchObject({ code: 'sandbox_ended' })
  })

  it('stops with the caller', async () => {
    const { connect } = agent(() => undefined)
    const guest = guestConnection(connect, Math.random)
    const caller = new AbortController()
    const waiting = expect(guest.request(get('/', { signal: caller.signal }))).rejects.toMatchObject({
      code: 'canceled',
    })
    await new Promise((resolve) => setTimeout(resolve, 30))
    caller.abort()
    await waiting
    await expect.poll(() => guest.open).toBe(0)
  })
})

describe('what comes out of a guest', () => {
  it('is dropped where nobody needs it, and refused beyond its limits', async () => {
    const { connect } = agent((stream, path) => {
      if (path === '/headers') {
        stream.respond({ ':status': 200, 'x-atoll-size': '4', 'set-cookie': 'a=b', 'x-evil': 'x' })
        return void stream.end('body')
      }
      stream.respond({ ':status': 200 })
      stream.end(Buffer.alloc(guestLimits.jsonBytes + 1, 0x20))
    })
    const guest = guestConnection(connect, Math.random)
    const answer = await guest.request(get('/headers'))
    expect(answer.headers).toEqual({ 'x-atoll-size': '4' })
    expect(await text(answer.body)).toBe('body')
    const large = await guest.request(get('/large'))
    await expect(readJson(large, z.unknown(), 'cannot read')).rejects.toMatchObject({
      code: 'guest_unreachable',
    })
  })

  it('is no health without its schema, nor of another generation', async () => {
    const health = {
      generation: guestGeneration,
      agentVersion: '1',
      pid: 1,
      uptimeMs: 1,
      sandboxId: null,
      adopted: false,
      quiesced: false,
      identityGeneration: 0,
    }
    const answers = [
      { ...health, generation: guestGeneration + 1 },
      { ...health, agentVersion: '1'.repeat(1_000) },
      'nonsense',
    ]
    const { connect } = agent((stream) => json(stream, answers.shift()))
    const guest = guestConnection(connect, Math.random)
    await expect(askHealth(guest, 1_000)).rejects.toMatchObject({ code: 'unsupported' })
    await expect(askHealth(guest, 1_000)).rejects.toMatchObject({ code: 'guest_unreachable' })
    await expect(askHealth(guest, 1_000)).rejects.toMatchObject({ code: 'guest_unreachable' })
  })

  it('is an error of the closed table, or internal', async () => {
    const { connect } = agent((stream, path) =>
      json(stream, { code: path.slice(1), message: 'bad \u0007 text' }, 422),
    )
    const guest = guestConnection(connect, Math.random)
    const known = readJson(await guest.request(get('/disk_full')), z.unknown(), 'cannot write')
    await expect(known).rejects.toMatchObject({ code: 'disk_full', message: 'bad \ufffd text' })
    const unknown = readJson(await guest.request(get('/made_up')), z.unknown(), 'cannot write')
    await expect(unknown).rejects.toMatchObject({ code: 'internal' })
  })
})
