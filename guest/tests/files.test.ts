import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type RunningAgent, startAgent } from './agent.ts'
import { collect, openStream, type Parsed } from './output.ts'

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
const put = (name: string, body: Buffer, more = '', headers: Record<string, string> = {}) =>
  agent.call('PUT', at(name, more), body, headers)
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('writing', () => {
  it('answers with what is there after the rename', async () => {
    const bytes = randomBytes(3_000_000)
    const answer = await put('a/b/c.bin', bytes, '&parents=1&mode=0640', {
      'x-atoll-size': String(bytes.length),
      'x-atoll-sha256': sha256(bytes),
    })
    expect(answer.json()).toEqual({
      path: join(folder, 'a/b/c.bin'),
      size: bytes.length,
      sha256: sha256(bytes),
      mode: 0o640,
      uid: 0,
      gid: 0,
    })
    expect(readFileSync(join(folder, 'a/b/c.bin')).equals(bytes)).toBe(true)
    expect(readdirSync(join(folder, 'a/b'))).toEqual(['c.bin'])
  })

  it('belongs to the user that is named, and keeps an old mode', async () => {
    const first = await put('mine', Buffer.from('1'), '&user=1234:4321&mode=0600')
    expect(first.json()).toMatchObject({ uid: 1234, gid: 4321, mode: 0o600 })
    const second = await put('mine', Buffer.from('2'), '&user=1234:4321')
    expect(second.json().mode).toBe(0o600)
    chownSync(folder, 0, 0)
    chmodSync(folder, 0o755)
    const refused = await put('other', Buffer.from('3'), '&user=1234:4321')
    expect(refused.json()).toMatchObject({ code: 'permission_denied', details: { errno: 'EACCES' } })
  })

  it.each([
    ['sha256', { 'x-atoll-sha256': '00'.repeat(32) }],
    ['size', { 'x-atoll-size': '7' }],
  ])('changes nothing when the %s differs', async (_name, headers) => {
    writeFileSync(join(folder, 'f'), 'old')
    const answer = await put('f', Buffer.from('new!'), '', headers)
    expect([answer.status, answer.json().code]).toEqual([422, 'hash_mismatch'])
    expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['f'])
  })

  // With a length, because node:http2 ends a request's body before it cancels the request.
  it('changes nothing when the body ends early', async () => {
    writeFileSync(join(folder, 'f'), 'old')
    const stream = agent.session.request({
      ':method': 'PUT',
      ':path': at('f'),
      'content-length': 1_000_000,
      ':authority': 'guest',
    })
    stream.on('error', () => {})
    stream.write(Buffer.alloc(500_000))
    await expect.poll(() => readdirSync(folder).length).toBe(2)
    stream.close(8)
    await expect.poll(() => readdirSync(folder)).toEqual(['f'])
    expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('old')
  })

  it.each([
    ['the size', (sent: number) => ({ 'x-atoll-size': String(sent) }), 200],
    ['another size', (sent: number) => ({ 'x-atoll-size': String(sent + 1) }), 422],
    ['a wrong hash', () => ({ 'x-atoll-size': '4', 'x-atoll-sha256': '00'.repeat(32) }), 422],
    ['nothing of it', () => ({ 'x-other': '1' }), 400],
    ['no trailer at all', undefined, 400],
  ])('takes a body of unknown length by its trailer: %s', async (_name, trailers, status) => {
    writeFileSync(join(folder, 'f'), 'old')
    const stream = agent.session.request(
      { ':method': 'PUT', ':path': at('f'), ':authority': 'guest', trailer: 'x-atoll-size' },
      { waitForTrailers: trailers !== undefined } as never,
    )
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers(4)))
    const answered = new Promise((resolve) =>
      stream.once('response', (headers) => resolve(headers[':status'])),
    )
    stream.resume()
    stream.end('new!')
    expect(await answered).toBe(status)
    expect(readFileSync(join(folder, 'f'), 'utf8')).toBe(status === 200 ? 'new!' : 'old')
    expect(readdirSync(folder)).toEqual(['f'])
  })

  it('refuses a body that tells its length neither before nor after', async () => {
    writeFileSync(join(folder, 'f'), 'old')
    const stream = agent.session.request({ ':method': 'PUT', ':path': at('f'), ':authority': 'guest' })
    const answered = new Promise((resolve) =>
      stream.once('response', (headers) => resolve(headers[':status'])),
    )
    stream.on('error', () => {})
    stream.resume()
    stream.write('new!')
    expect(await answered).toBe(400)
    stream.close(8)
    expect(readFileSync(join(folder, 'f'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['f'])
  })

  it('takes a request without a body for an empty file', async () => {
    const answer = await agent.call('PUT', at('empty'))
    expect(answer.json()).toMatchObject({ size: 0, sha256: sha256(Buffer.alloc(0)) })
    expect(readFileSync(join(folder, 'empty')).length).toBe(0)
  })

  it("does not follow a user's link as root, and follows it as that user", async () => {
    writeFileSync(join(folder, 'target'), 'old')
    chownSync(join(folder, 'target'), 1234, 1234)
    execFileSync('setpriv', [
      '--reuid=1234',
      '--regid=1234',
      '--clear-groups',
      'ln',
      '-s',
      'target',
      join(folder, 'link'),
    ])
    expect((await put('link', Buffer.from('root'))).json().code).toBe('permission_denied')
    expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('old')
    expect((await put('link', Buffer.from('user'), '&user=1234:1234')).status).toBe(200)
    expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('user')
  })
})

describe('reading', () => {
  it('gives all, a range, and the facts', async () => {
    const bytes = randomBytes(1_000_000)
    writeFileSync(join(folder, 'f'), bytes, { mode: 0o600 })
    const whole = await agent.call('GET', at('f'))
    expect(whole.body.equals(bytes)).toBe(true)
    expect(whole.headers).toMatchObject({
      'content-length': '1000000',
      'x-atoll-mode': '0600',
      'x-atoll-size': '1000000',
    })
    const part = await agent.call('GET', at('f'), undefined, { range: 'bytes=999990-' })
    expect(part.status).toBe(206)
    expect(part.body.equals(bytes.subarray(999_990))).toBe(true)
    const past = await agent.call('GET', at('f'), undefined, { range: 'bytes=1000000-' })
    expect(past.json().code).toBe('range_not_satisfiable')
  })

  it('refuses what is no regular file without waiting for it', async () => {
    execFileSync('mkfifo', [join(folder, 'fifo')])
    for (const name of ['fifo', '.'])
      expect((await agent.call('GET', at(name))).json().code).toBe('not_a_file')
    expect((await agent.call('GET', at('none'))).json().code).toBe('path_not_found')
    expect((await agent.call('GET', at('../x\0y'))).json().code).toBe('invalid_request')
  })

  it("has the user's rights only", async () => {
    writeFileSync(join(folder, 'secret'), 's', { mode: 0o600 })
    expect((await agent.call('GET', at('secret', '&user=1234'))).json().code).toBe('permission_denied')
    expect((await agent.call('GET', at('secret'))).body.toString()).toBe('s')
  })
})

describe('folders', () => {
  const post = (call: string, body: unknown) => agent.call('POST', `/v1/files/${call}`, body)

  it('makes, lists, moves and removes', async () => {
    const made = await post('make', {
      path: join(folder, 'a/b'),
      parents: true,
      mode: 0o750,
      user: '1234:1234',
    })
    expect(made.json()).toMatchObject({ type: 'directory', mode: 0o750, uid: 1234 })
    expect((await post('make', { path: join(folder, 'a/b') })).json().code).toBe('path_exists')
    writeFileSync(join(folder, 'a/b/f'), 'x')
    symlinkSync('/etc', join(folder, 'a/link'))
    const listed = await agent.call('GET', `/v1/files/list?path=${folder}&depth=3`)
    const names = listed.json().entries.map((entry: Parsed) => [entry.name, entry.type, entry.target])
    expect(names).toEqual([
      ['a', 'directory', null],
      ['b', 'directory', null],
      ['link', 'symlink', '/etc'],
      ['f', 'file', null],
    ])
    const short = await agent.call('GET', `/v1/files/list?path=${folder}&depth=3&limit=2`)
    expect([short.json().entries.length, short.json().truncated]).toEqual([2, true])
    writeFileSync(join(folder, 'there'), 'y')
    const move = { from: join(folder, 'a/b/f'), to: join(folder, 'there') }
    expect((await post('move', move)).json().code).toBe('path_exists')
    expect((await post('move', { ...move, overwrite: true })).json()).toMatchObject({
      name: 'there',
      size: 1,
    })
    expect((await post('remove', { path: join(folder, 'a') })).json().code).toBe('directory_not_empty')
    expect((await post('remove', { path: join(folder, 'a'), recursive: true })).json()).toEqual({
      removed: 3,
    })
    expect(existsSync('/etc/passwd'), 'a link is removed, not what it points to').toBe(true)
    expect((await post('remove', { path: join(folder, 'a'), recursive: true })).json().code).toBe(
      'path_not_found',
    )
  })

  it('tells of changes below a folder', async () => {
    mkdirSync(join(folder, 'sub'))
    const stream = openStream(agent.session, `/v1/files/watch?path=${folder}&recursive=1`)
    const seenSoFar = collect(stream)
    await seenSoFar.until((bytes) => bytes.includes('ready'))
    writeFileSync(join(folder, 'sub/f'), 'x')
    await agent.call('POST', '/v1/files/move', { from: join(folder, 'sub/f'), to: join(folder, 'g') })
    mkdirSync(join(folder, 'new'))
    writeFileSync(join(folder, 'new/inside'), 'x')
    await agent.call('POST', '/v1/files/remove', { path: join(folder, 'g') })
    const bytes = await seenSoFar.until((seen) => seen.includes('removed'))
    const events = bytes
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const has = (type: string, name: string) =>
      expect(events).toContainEqual(expect.objectContaining({ type, path: join(folder, name) }))
    has('written', 'sub/f')
    has('moved', 'g')
    has('created', 'new/inside')
    has('removed', 'g')
    expect(events.find((event) => event.type === 'moved').from).toBe(join(folder, 'sub/f'))
    stream.close()
  })
})
