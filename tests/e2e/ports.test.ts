import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { until } from './call.ts'
import { commandEnv } from './command-line.ts'
import { type Drill, realRuntimes, small, startDrill } from './drill.ts'
import { echoServer, hotServer, lineServer } from './port-programs.ts'

const cli = fileURLToPath(new URL('../../clients/cli/atoll', import.meta.url))

interface Seen {
  readonly path: string
  readonly headers: readonly (readonly [string, string])[]
  readonly sha256: string
}

/** Real servers inside real sandboxes, reached as a browser and a tool would reach them. */
describe.each(realRuntimes)('ports of a %s sandbox', (runtime) => {
  let drill: Drill
  let sandbox: Sandbox
  beforeAll(async () => {
    drill = await startDrill()
    sandbox = await drill.stack.atoll.sandboxes.create({ runtime, limits: { ...small, processes: 512 } })
    for (const [program, port] of [
      [echoServer, 3000],
      [lineServer, 3001],
      [hotServer, 3002],
    ] as const)
      await serve(program, port)
  })
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const serve = async (program: string, port: number): Promise<void> => {
    await sandbox.start(['python3', '-c', program, String(port)], { id: `server-${port}` })
    await until(`port ${port} listens`, 20_000, async () => {
      const tried = await sandbox.ports.connect(port).catch(() => undefined)
      await tried?.close()
      return tried
    })
  }

  /** The name is resolved by nobody: *.localhost is loopback by definition, as browsers have it. */
  const open = (
    url: string,
    options: { method?: string; headers?: Record<string, string>; body?: Buffer } = {},
  ): Promise<IncomingMessage> => {
    const { hostname, port, pathname, search } = new URL(url)
    expect(hostname).toMatch(/\.localhost$/)
    return new Promise((resolve, reject) => {
      const asked = request({
        host: '127.0.0.1',
        port,
        path: pathname + search,
        method: options.method ?? 'GET',
        headers: { host: `${hostname}:${port}`, ...options.headers },
        agent: false,
      })
      asked.once('response', resolve).once('error', reject)
      asked.end(options.body)
    })
  }
  const textOf = async (answer: IncomingMessage): Promise<string> => {
    let text = ''
    for await (const chunk of answer) text += String(chunk)
    return text
  }

  it('answers by its name, with a link, and lets nobody in without', async () => {
    const url = await sandbox.ports.url(3000)
    expect(url).toBe(`http://3000-${sandbox.id.replace('_', '-')}.localhost:${drill.stack.port}`)
    expect((await open(url)).statusCode).toBe(401)
    const link = await sandbox.ports.link(3000, { path: '/x?y=1' })
    const answer = await open(link.url)
    const seen = JSON.parse(await textOf(answer)) as Seen
    expect(seen.path).toBe('/x?y=1')
    const headers = Object.fromEntries(seen.headers.map(([name, value]) => [name.toLowerCase(), value]))
    expect(headers['host']).toBe('localhost:3000')
    expect(JSON.stringify(seen)).not.toContain('atpt_')
    expect(
      (await open(await sandbox.ports.url(3001), { headers: { 'x-atoll-port-token': link.token } }))
        .statusCode,
    ).toBe(403)
  })

  it('carries an upload whole, a stream as it comes, and a hundred requests at once', async () => {
    const { token } = await sandbox.ports.link(3000)
    const url = await sandbox.ports.url(3000)
    const headers = { 'x-atoll-port-token': token }
    const body = randomBytes(8 * 1024 ** 2)
    const uploaded = JSON.parse(
      await textOf(await open(`${url}/up`, { method: 'POST', headers, body })),
    ) as Seen
    expect(uploaded.sha256).toBe(createHash('sha256').update(body).digest('hex'))

    const times: number[] = []
    const events = await open(`${url}/events`, { headers })
    events.on('data', () => times.push(performance.now()))
    expect((await textOf(events)).match(/data: \d/g)).toHaveLength(5)
    expect((times.at(-1) ?? 0) - (times[0] ?? 0), 'event by event, not at the end').toBeGreaterThan(250)

    const began = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, n) => {
        const answer = await open(`${url}/n${n}`, { headers })
        return { status: answer.statusCode, path: (JSON.parse(await textOf(answer)) as Seen).path }
      }),
    )
    console.log(`${runtime}: 100 requests at once in ${Math.round(performance.now() - began)} ms`)
    expect(answers).toEqual(Array.from({ length: 100 }, (_, n) => ({ status: 200, path: `/n${n}` })))
  })

  it('is held by a reader that stops, and lets commands pass meanwhile', async () => {
    const { token } = await sandbox.ports.link(3000)
    const stalled = await open(`${await sandbox.ports.url(3000)}/big`, {
      headers: { 'x-atoll-port-token': token },
    })
    stalled.once('data', () => stalled.pause())
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect((await sandbox.run(['echo', 'there'])).stdout).toBe('there\n')
    const holders = await sandbox.holders()
    expect(holders.map(({ kind, name }) => `${kind} ${name}`)).toContain('connection port 3000')
    stalled.destroy()
    await until('nothing holds it but its servers', 10_000, async () => {
      const left = (await sandbox.holders()).filter(({ kind }) => kind === 'connection')
      return left.length === 0 ? left : undefined
    })
  })

  it('tunnels TCP: lines, half-close, and a refusal that says why', async () => {
    const connection = await sandbox.ports.connect(3001)
    const writer = connection.writable.getWriter()
    await writer.write(new TextEncoder().encode('a line\n'))
    await writer.close()
    expect(await new Response(connection.readable).text()).toBe('A LINE\ngoodbye')
    await connection.closed
    await expect(sandbox.ports.connect(3999)).rejects.toMatchObject({ code: 'connection_refused' })
    const bytes = randomBytes(4 * 1024 ** 2)
      .toString('hex')
      .replaceAll('aaa', '\n')
    const large = await sandbox.ports.connect(3001)
    const sender = large.writable.getWriter()
    const sent = sender.write(new TextEncoder().encode(bytes)).then(() => sender.close())
    expect((await new Response(large.readable).text()).length).toBe(bytes.length + 'goodbye'.length)
    await sent
  })

  it('is forwarded by the CLI', async () => {
    const child = spawn(cli, ['--json', 'port', 'forward', sandbox.id, '0:3001'], {
      env: commandEnv(drill.stack),
    })
    try {
      const told = await new Promise<string>((resolve, reject) => {
        child.stdout.once('data', (chunk) => resolve(String(chunk)))
        child.stderr.once('data', (chunk) => reject(new Error(String(chunk))))
      })
      const { local } = JSON.parse(told) as { local: number }
      const socket = connect(local, '127.0.0.1')
      socket.end('over the wire\n')
      let text = ''
      for await (const chunk of socket) text += String(chunk)
      expect(text).toBe('OVER THE WIRE\ngoodbye')
    } finally {
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
      child.kill('SIGINT')
      expect(await ended).toBe(0)
    }
  })

  it('carries a WebSocket', async () => {
    const { token } = await sandbox.ports.link(3002)
    const { hostname, port } = new URL(await sandbox.ports.url(3002))
    const headers = { host: `${hostname}:${port}` }
    const socket = new WebSocket(`ws://127.0.0.1:${port}/?atoll_token=${token}`, { headers })
    const seen: string[] = []
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.on('message', (data: Buffer) => {
        seen.push(data.toString())
        if (seen.at(-1) === 'done') return resolve()
        socket.send(`seen ${data.toString()}`)
      })
    })
    expect(seen).toEqual(['one', 'two', 'done'])
    socket.close()
  })

  it('outlives a restart of the daemon: links, settings, and the server inside', async () => {
    const link = await sandbox.ports.link(3000)
    await sandbox.ports.set(3001, { access: 'public' })
    await drill.stack.crash()
    await drill.stack.restart()
    await until('the link works again', 20_000, async () => {
      const answer = await open(link.url).catch(() => undefined)
      return answer?.statusCode === 200 ? answer : undefined
    })
    expect(await sandbox.ports.list()).toMatchObject([{ port: 3001, access: 'public' }])
  })

  it('is woken by a request, and by no request that may not', async () => {
    const { token } = await sandbox.ports.link(3000)
    const url = await sandbox.ports.url(3000)
    const ask = () => open(url, { headers: { 'x-atoll-port-token': token } })
    // gVisor saves memory; a container only freezes.
    for (const depth of runtime === 'gvisor' ? (['frozen', 'stored'] as const) : (['frozen'] as const)) {
      // A connection is kept when the pause comes: it must not be what the next request waits on.
      expect((await ask()).statusCode).toBe(200)
      await sandbox.pause({ depth })
      const began = performance.now()
      expect((await ask()).statusCode, `${depth} and woken`).toBe(200)
      console.log(`${runtime}: ${depth}, answered after ${Math.round(performance.now() - began)} ms`)
      expect((await sandbox.refresh()).state).toBe('running')
    }
    await sandbox.setLease({ autoResume: false })
    await sandbox.pause({ depth: 'frozen' })
    const refused = await ask()
    expect([refused.statusCode, refused.headers['x-atoll-error']]).toEqual([409, 'state_conflict'])
    expect((await sandbox.refresh()).state).toBe('paused')
    await sandbox.resume()
    expect((await ask()).statusCode).toBe(200)
  })

  it('never leads to another sandbox after its end', async () => {
    const link = await sandbox.ports.link(3000)
    await sandbox.delete()
    const next = await drill.stack.atoll.sandboxes.create({ runtime, limits: small })
    await next.start(['python3', '-c', echoServer, '3000'])
    const answer = await open(link.url)
    expect([answer.statusCode, answer.headers['x-atoll-error']]).toEqual([410, 'sandbox_ended'])
    expect(await textOf(answer)).toContain('deleted')
    await next.delete()
    const log = readFileSync(join(drill.stack.dataFolder, 'daemon.log'), 'utf8') + drill.stack.output()
    expect(log).not.toMatch(/atpt_|atst_/)
    for (const name of ['atoll.db', 'atoll.db-wal', 'node.db', 'node.db-wal'])
      expect(readFileSync(join(drill.stack.dataFolder, name)).includes(link.token), name).toBe(false)
  })
})
