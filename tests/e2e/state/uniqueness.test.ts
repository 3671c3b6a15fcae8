import { setTimeout as delay } from 'node:timers/promises'
import type { Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startStack, type Stack } from '../../stack/start-stack.ts'

const copies = 8
/** Lines that a log may grow by between its count and the fork. */
const margin = 60
const limits = { memoryMib: 256, diskMib: 256 }

/** Draws all the time, before the fork and right after it: what comes after must be each copy's own. */
const pythonDraws = `
import hashlib, os, secrets, time, uuid
log = open('/tmp/python', 'w', buffering=1)
while True:
    kib = hashlib.sha256(os.urandom(1024)).hexdigest()
    log.write(f'{kib} {uuid.uuid4()} {secrets.token_hex(16)}\\n')
    time.sleep(0.02)
`

/** The same by OpenSSL: in `base` it asks the kernel at each draw (docs/guides/fork-safe-randomness.md). */
const nodeDraws = `
const crypto = require('crypto'), fs = require('fs'), net = require('net'), tls = require('tls')
// The first message of TLS holds a random at bytes 11 to 42.
const server = net.createServer((socket) => socket.once('data', (hello) => {
  const random = hello.subarray(11, 43).toString('hex')
  fs.appendFileSync('/tmp/node', [crypto.randomBytes(16).toString('hex'), random].join(' ') + '\\n')
  socket.destroy()
})).listen(0, '127.0.0.1')
setInterval(() => tls.connect({ port: server.address().port, host: '127.0.0.1' }).on('error', () => {}), 50)
`

const drawn = async (sandbox: Sandbox, path: string): Promise<string[][]> => {
  const { stdout } = await sandbox.run(['sh', '-c', `sleep 0.5; cat ${path}`])
  // The last line may be half-written.
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split(' '))
}

describe('forks of one sandbox', () => {
  let stack: Stack
  let parent: Sandbox
  let children: Sandbox[]
  let plainBefore: number
  beforeAll(async () => {
    stack = await startStack()
    parent = await stack.atoll.sandboxes.create({ runtime: 'gvisor', limits })
    await parent.start(['python3', '-c', pythonDraws])
    await parent.start(['node', '-e', nodeDraws])
    await parent.start(['node', '-e', nodeDraws.replace('/tmp/node', '/tmp/plain')], {
      env: { OPENSSL_CONF: '/dev/null' },
    })
    for (const log of ['/tmp/python', '/tmp/node', '/tmp/plain'])
      await parent.run(`until test -e ${log} && test "$(wc -l < ${log})" -gt 5; do sleep 0.05; done`)
    plainBefore = Number((await parent.run('wc -l < /tmp/plain')).stdout)
    children = await parent.fork({ count: copies })
  }, 180_000)
  afterAll(() => stack?.[Symbol.asyncDispose]())

  it.each(['python', 'node'])('draw other numbers from the first one on in a %s of before', async (name) => {
    const all = await Promise.all([parent, ...children].map((sandbox) => drawn(sandbox, `/tmp/${name}`)))
    const [own = [], ...others] = all
    for (const [which, lines] of others.entries()) {
      const common = lines.filter(([first], at) => own[at]?.[0] === first).length
      // The log of before the fork is there, and it has gone on.
      expect(common, `child ${which}`).toBeGreaterThan(5)
      expect(lines.length, `child ${which}`).toBeGreaterThan(common)
    }
    const common = Math.max(
      ...others.map((lines) => lines.filter(([first], at) => own[at]?.[0] === first).length),
    )
    const fresh = all.flatMap((lines) => lines.slice(common).flat())
    expect(fresh.length).toBeGreaterThan(all.length)
    expect(new Set(fresh).size).toBe(fresh.length)
  })

  it('draw the same in a node without the engine, or the tests above could not see that', async () => {
    const wait = `until test "$(wc -l < /tmp/plain)" -gt ${plainBefore + 2 * margin}; do sleep 0.1; done`
    const [own = [], ...others] = await Promise.all(
      children.map(async (child) => {
        await child.run(wait)
        const lines = (await drawn(child, '/tmp/plain')).slice(plainBefore + margin)
        return lines.map((line) => line.join(' '))
      }),
    )
    expect(own.length).toBeGreaterThan(0)
    expect(own.some((line) => others.some((lines) => lines.includes(line)))).toBe(true)
  })

  it('read 1 KB of urandom at once, each another', async () => {
    const read = ['sh', '-c', 'head -c 1024 /dev/urandom | sha256sum']
    const sums = await Promise.all([parent, ...children].map((sandbox) => sandbox.run(read)))
    expect(new Set(sums.map(({ stdout }) => stdout)).size).toBe(copies + 1)
  })

  it('start Node with TLS randoms of their own', async () => {
    const hello = `
const net = require('net'), tls = require('tls'), crypto = require('crypto')
const server = net.createServer((socket) => socket.once('data', (data) => {
  console.log(data.subarray(11, 43).toString('hex'), crypto.randomUUID(), crypto.randomBytes(16).toString('hex'))
  process.exit(0)
})).listen(0, '127.0.0.1', () => tls.connect({ port: server.address().port, host: '127.0.0.1' }).on('error', () => {}))`
    const said = await Promise.all(children.map((child) => child.run(['node', '-e', hello])))
    const values = said.flatMap(({ stdout }) => stdout.trim().split(' '))
    expect(values.map((value) => value.length)).toEqual(said.flatMap(() => [64, 36, 32]))
    expect(new Set(values).size).toBe(values.length)
  })

  it('have a name, a machine-id, a generation and a token of their own', async () => {
    const names = ['hostname', 'cat /etc/machine-id', 'cat /run/atoll/generation']
    const rows = await Promise.all(
      [parent, ...children].map((sandbox) =>
        Promise.all(names.map(async (name) => (await sandbox.run(name)).stdout.trim())),
      ),
    )
    expect(new Set(rows.map(([hostname]) => hostname)).size).toBe(copies + 1)
    expect(new Set(rows.map(([, machineId]) => machineId)).size).toBe(copies + 1)
    expect(rows.map(([, , generation]) => Number(generation))).toEqual(
      [parent, ...children].map((sandbox) => sandbox.generation),
    )
    expect(children.every((child) => child.generation === parent.generation + 1)).toBe(true)
    for (const [at, child] of children.entries()) expect(rows[at + 1]?.[0]).toBe(child.id.replace('_', '-'))
    // A token opens the one that it was made for, and no other.
    const [first, second] = children
    const token = await tokenOf(stack, first?.id ?? '')
    expect(await statusWith(stack, first?.id ?? '', token)).toBe(200)
    expect(await statusWith(stack, second?.id ?? '', token)).toBe(404)
    expect(await statusWith(stack, parent.id, token)).toBe(404)
  })

  it('have the right time after 30 s on disk, before their code runs', async () => {
    const sandbox = children[0]!
    await sandbox.run(['sh', '-c', 'mkdir -p /tmp/clock'])
    // Writes the time of each of its turns: the first one after the pause must be right already.
    await sandbox.start([
      'python3',
      '-c',
      `import time
log = open('/tmp/clock/log', 'w', buffering=1)
while True:
    log.write(f'{time.time():.3f} {time.monotonic():.3f}\\n')
    time.sleep(0.01)`,
    ])
    await sandbox.run('until test -s /tmp/clock/log; do sleep 0.05; done')
    await sandbox.pause({ depth: 'stored' })
    const pausedAt = Date.now()
    await delay(30_000)
    const before = Date.now()
    const inside = (await sandbox.run(['date', '+%s%3N'])).stdout
    const after = Date.now()
    expect(Number(inside)).toBeGreaterThanOrEqual(before - 100)
    expect(Number(inside)).toBeLessThanOrEqual(after + 100)
    const log = (await sandbox.files.readText('/tmp/clock/log')).trim().split('\n')
    const times = log.slice(0, -1).map((line) => Number(line.split(' ')[0]) * 1_000)
    const late = times.filter((time) => time > pausedAt + 100 && time < before - 100)
    expect(late, 'turns with a time of the pause').toEqual([])
    expect(times.at(-1)).toBeGreaterThanOrEqual(before - 100)
  }, 90_000)
})

const tokenOf = async (stack: Stack, id: string): Promise<string> => {
  const answer = await fetch(`${stack.url}/v1/sandboxes/${id}/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ access: 'use', ttlMs: 60_000 }),
  })
  expect(answer.status).toBe(201)
  return ((await answer.json()) as { token: string }).token
}

const statusWith = async (stack: Stack, id: string, token: string): Promise<number> => {
  const headers = { authorization: `Bearer ${token}` }
  const answer = await fetch(`${stack.url}/v1/sandboxes/${id}/processes`, { headers })
  await answer.arrayBuffer()
  return answer.status
}
