import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type RunningAgent, startAgent } from './agent.ts'
import { collect, openStream, runOf } from './output.ts'

let agent: RunningAgent
let folder: string
let count = 0

beforeAll(async () => {
  agent = await startAgent()
  chmodSync(agent.folder, 0o755)
})
afterAll(() => agent[Symbol.asyncDispose]())
beforeEach(() => {
  count += 1
  folder = join(agent.folder, `case-${count}`)
  mkdirSync(folder)
  chmodSync(folder, 0o777)
})

const at = (name: string, more = '') => `/v1/files?path=${encodeURIComponent(join(folder, name))}${more}`
describe('the rest', () => {
  it('names the sandbox and reads back what is in force', async () => {
    const answer = await agent.call('POST', '/v1/adopt', {
      sandboxId: 'sbx_other',
      hostname: 'renamed',
      timeUnixMs: Date.now() - 5_000,
      entropy: randomBytes(64).toString('base64'),
      limits: { processes: 50 },
      defaultUser: 'root',
    })
    expect(answer.json()).toMatchObject({
      sandboxId: 'sbx_other',
      hostname: 'renamed',
      limits: { processes: 50 },
    })
    expect(answer.json().clockSkewMs).toBeGreaterThanOrEqual(5_000)
    const script = 'hostname; cat /etc/hostname; getent hosts renamed; wc -c < /etc/machine-id; ulimit -u'
    const ran = runOf(
      (await agent.call('PUT', '/v1/processes/names?follow=1', { argv: ['sh', '-c', script] })).body,
    )
    expect(ran.stdout).toMatch(/^renamed\nrenamed\n127\.0\.1\.1 +renamed\n33\n/)
  })

  it('carries a port of the inside', async () => {
    const listen = `import socket
s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(); print(s.getsockname()[1],flush=True)
c,_=s.accept(); d=b""
while True:
  b=c.recv(65536)
  if not b: break
  d+=b
c.sendall(b"got "+str(len(d)).encode()); c.close()`
    await agent.call('POST', '/v1/adopt', { sandboxId: 's', hostname: 'h', timeUnixMs: 0, entropy: '' })
    await agent.call('PUT', '/v1/processes/listen', { argv: ['/usr/bin/python3', '-c', listen] })
    const seen = await collect(openStream(agent.session, '/v1/processes/listen/output?follow=1')).until(
      (bytes) => /\d{4,5}\n/.test(bytes.toString('latin1')),
    )
    const port = /(\d{4,5})\n/.exec(seen.toString('latin1'))?.[1]
    const answer = await agent.call('POST', `/v1/ports/${port}`, Buffer.alloc(500_000))
    expect(answer.body.toString()).toBe('got 500000')
    const refused = await agent.call('POST', '/v1/ports/1', Buffer.alloc(0))
    expect(refused.json().code).toBe('connection_refused')
  })

  it('comes back from garbage on the link', async () => {
    agent.session.destroy()
    const before = agent.link.closesSeen
    agent.link.writeRaw(Buffer.from([0xff, 1, 2, 3, 4, 5]))
    await expect.poll(() => agent.link.closesSeen).toBe(before + 1)
    await agent.reopen()
    expect((await agent.call('GET', '/v1/health')).json().adopted).toBe(true)
  })

  it('cancels the requests of a session that a new one replaces', async () => {
    mkdirSync(join(folder, 'w'))
    const head = { ':method': 'PUT', ':path': at('w/f'), ':authority': 'guest', 'content-length': 200_000 }
    const stream = agent.session.request(head)
    stream.on('error', () => {})
    stream.write(Buffer.alloc(100_000))
    await expect.poll(() => readdirSync(join(folder, 'w')).length).toBe(1)
    await agent.reopen()
    await expect.poll(() => readdirSync(join(folder, 'w'))).toEqual([])
    const { agent: own } = (await agent.call('GET', '/v1/metrics')).json()
    expect(own.openStreams).toBe(1)
  })
})
