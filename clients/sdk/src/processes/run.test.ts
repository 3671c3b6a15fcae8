import { describe, expect, it } from 'vitest'
import {
  cutConnection,
  exitOf,
  json,
  ndjson,
  out,
  processRecord,
  sandboxRecord,
  scriptedServer,
} from '../../test/scripted-server.ts'
import { isAtollError } from '../index.ts'

const started = { type: 'started', process: processRecord }
const connected = json(200, sandboxRecord)
const open = async (script: Parameters<typeof scriptedServer>[0]) => {
  const server = await scriptedServer([connected, ...script])
  return {
    server,
    sandbox: await server.atoll.sandboxes.connect('sbx_x'),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

describe('run', () => {
  it('takes up a broken stream from the last byte, without a byte doubled', async () => {
    await using both = await open([
      ndjson([started, out('stdout', 0, 'one '), out('stderr', 4, 'E')], 'cut'),
      ndjson([out('stderr', 4, 'Err'), out('stdout', 7, 'two')], 'end'),
      cutConnection,
      ndjson([out('stdout', 10, ' three'), { type: 'exit', exit: exitOf(3) }]),
    ])
    const seen: string[] = []
    const result = await both.sandbox.run(['x'], { onStdout: (text) => seen.push(text) })
    expect(result).toMatchObject({ ok: false, stdout: 'one two three', stderr: 'Err', droppedBytes: 0 })
    expect(result.exit.code).toBe(3)
    expect(seen.join('')).toBe('one two three')
    const paths = both.server.seen
      .slice(2)
      .map(
        ({ method, url }) => `${method} ${url.pathname.split('/').at(-1)} ${url.searchParams.get('offset')}`,
      )
    expect(paths[0]).toBe('GET output 5')
    expect(paths.at(-1)).toBe('GET output 10')
  })

  it('never takes a stream without an end for a success', async () => {
    const endless = Array.from({ length: 40 }, () => ndjson([started]))
    await using both = await open(endless)
    const error = await both.sandbox.run(['x']).catch((caught: unknown) => caught)
    expect(isAtollError(error, 'stream_broken')).toBe(true)
    expect(both.server.seen.length).toBeGreaterThan(3)
  })

  it('starts the same process again when the first answer was lost', async () => {
    await using both = await open([cutConnection, ndjson([started, { type: 'exit', exit: exitOf(0) }])])
    const result = await both.sandbox.run('true')
    expect(result.ok).toBe(true)
    const [first, second] = both.server.seen.slice(1)
    expect(JSON.parse(first?.body ?? '').id).toBe(JSON.parse(second?.body ?? '').id)
    expect(first?.headers['idempotency-key']).toBe(second?.headers['idempotency-key'])
    expect(JSON.parse(first?.body ?? '').shell).toBe('true')
  })

  it('tells of bytes that were lost, or were over the limit', async () => {
    await using both = await open([
      ndjson([
        started,
        { type: 'gap', from: 0, to: 5 },
        out('stdout', 5, 'abcdef'),
        { type: 'exit', exit: exitOf(0) },
      ]),
    ])
    const result = await both.sandbox.run(['x'], { maxOutputBytes: 4 })
    expect(result.stdout).toBe('abcd')
    expect(result.droppedBytes).toBe(5 + 2)
  })

  it('throws an error that the stream names', async () => {
    const body = { code: 'out_of_memory', message: 'it is full', retryable: false }
    await using both = await open([ndjson([started, { type: 'error', error: body }])])
    await expect(both.sandbox.run(['x'])).rejects.toMatchObject({
      code: 'out_of_memory',
      message: 'it is full',
    })
  })

  it('throws for a failed command only when asked', async () => {
    const exit = ndjson([started, out('stderr', 0, 'boom'), { type: 'exit', exit: exitOf(9) }])
    await using both = await open([exit, exit])
    expect((await both.sandbox.run(['x'])).ok).toBe(false)
    await expect(both.sandbox.run(['x'], { check: true })).rejects.toThrow(/code 9: boom/)
  })

  it('ends the process when it is canceled', async () => {
    await using both = await open([
      ndjson([started, out('stdout', 0, 'a')], 'stay'),
      json(200, processRecord),
    ])
    const cancel = new AbortController()
    const running = both.sandbox.run(['x'], { signal: cancel.signal, onStdout: () => cancel.abort() })
    await expect(running).rejects.toMatchObject({ code: 'canceled' })
    expect(both.server.seen.at(-1)?.method).toBe('DELETE')
  })

  it('has a deadline of its own', async () => {
    await using both = await open([ndjson([started], 'stay'), json(200, processRecord)])
    await expect(both.sandbox.run(['x'], { deadlineMs: 150 })).rejects.toMatchObject({
      code: 'deadline_client',
    })
  })

  it('keeps characters whole that come in two chunks', async () => {
    const [first, second] = [Buffer.from('é').subarray(0, 1), Buffer.from('é').subarray(1)]
    const chunk = (offset: number, data: Buffer): object => ({
      type: 'stdout',
      offset,
      data: data.toString('base64'),
    })
    await using both = await open([
      ndjson([started, chunk(0, first), chunk(1, second), { type: 'exit', exit: exitOf(0) }]),
    ])
    const seen: string[] = []
    const result = await both.sandbox.run(['x'], { onStdout: (text) => seen.push(text) })
    expect([result.stdout, seen.join('')]).toEqual(['é', 'é'])
  })
})

describe('files', () => {
  it('takes a cut body for an error, not for a shorter file', async () => {
    await using both = await open([
      (res) => {
        res.writeHead(200, { 'content-length': '10' })
        res.write('12345', () => setImmediate(() => res.destroy()))
      },
    ])
    await expect(both.sandbox.files.read('/x')).rejects.toMatchObject({ code: 'stream_broken' })
  })

  it('does not send a streamed body twice', async () => {
    await using both = await open([cutConnection, json(200, {})])
    async function* source() {
      yield new Uint8Array([1, 2, 3])
    }
    await expect(both.sandbox.files.write('/x', source())).rejects.toMatchObject({ code: 'node_unreachable' })
    expect(both.server.seen).toHaveLength(2)
  })

  it('does not believe a receipt with another size', async () => {
    await using both = await open([json(200, { path: '/x', size: 2, sha256: '', mode: 420, uid: 0, gid: 0 })])
    await expect(both.sandbox.files.write('/x', 'abc')).rejects.toMatchObject({ code: 'hash_mismatch' })
  })
})
