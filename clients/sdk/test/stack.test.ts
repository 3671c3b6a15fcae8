import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Atoll, isAtollError, type ProcessEvent, Sandbox, type SandboxEvent } from '../src/index.ts'
import { simulatedStack } from './simulated-stack.ts'

let stack: Awaited<ReturnType<typeof simulatedStack>>
let sandbox: Sandbox
const create = (more: object = {}): Promise<Sandbox> =>
  stack.atoll.sandboxes.create({ runtime: 'simulated', ...more })

beforeAll(async () => {
  stack = await simulatedStack()
  sandbox = await create({ name: 'shared', labels: { team: 'a' } })
})
afterAll(() => stack[Symbol.asyncDispose]())

describe('a sandbox through the whole stack', () => {
  it('says which isolation is in force', () => {
    expect(sandbox.isolation).toMatchObject({ runtime: 'simulated', strength: 'none' })
    expect(sandbox.info.state).toBe('running')
  })

  it('is created once for one key, and refused for another body', async () => {
    const options = { idempotencyKey: 'once', runtime: 'simulated' as const }
    const [first, second] = [
      await stack.atoll.sandboxes.create(options),
      await stack.atoll.sandboxes.create(options),
    ]
    expect(second.id).toBe(first.id)
    const other = stack.atoll.sandboxes.create({ ...options, name: 'other' })
    await expect(other).rejects.toMatchObject({ code: 'idempotency_conflict' })
    await first.delete()
  })

  it('is listed by label, connected by id, and gone with a receipt that repeats', async () => {
    const mine = await create({ labels: { team: 'b' } })
    const found: string[] = []
    for await (const { id } of stack.atoll.sandboxes.list({ labels: { team: 'b' } })) found.push(id)
    expect(found).toEqual([mine.id])
    const again = await Sandbox.connect(mine.id, { atoll: stack.atoll })
    const receipt = await again.delete()
    expect(await mine.delete()).toEqual(receipt)
    expect((await mine.refresh()).ended).toMatchObject({ cause: 'deleted' })
    const ran = await mine.run(['true']).catch((error: unknown) => error)
    expect(isAtollError(ran, 'sandbox_ended')).toBe(true)
  })

  it('is deleted at the end of its block', async () => {
    let id = ''
    {
      await using mine = await create()
      id = mine.id
    }
    expect((await stack.atoll.sandboxes.connect(id)).info.state).toBe('ended')
  })

  it('explains what keeps it alive, and obeys extend and hold', async () => {
    const before = sandbox.info.expiresAtMs
    expect((await sandbox.extend(7_200_000)).expiresAtMs).toBeGreaterThan(before)
    await using hold = await sandbox.hold('test', { ttlMs: 30_000 })
    expect(hold.holder.name).toBe('test')
    expect((await sandbox.holders()).map(({ name }) => name)).toContain('test')
    await hold.release()
    expect((await sandbox.lifecycle()).holders).toEqual([])
  })

  it('has an ordered log that can be followed to its end', async () => {
    const mine = await create()
    const seen: SandboxEvent[] = []
    const following = (async () => {
      for await (const event of mine.events({ follow: true })) seen.push(event)
    })()
    await mine.delete()
    await following
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.map(({ seq }) => seq)).toEqual(seen.map(({ seq }) => seq).toSorted((a, b) => a - b))
  })

  it('gives metrics', async () => {
    expect((await sandbox.metrics()).memory.limitBytes).toBeGreaterThan(0)
  })
})

describe('processes', () => {
  it('run to their end with output and exit code', async () => {
    expect(await sandbox.run(['echo', 'hello'])).toMatchObject({ ok: true, stdout: 'hello\n', stderr: '' })
    const failed = await sandbox.run('exit 7')
    expect([failed.ok, failed.exit.code]).toEqual([false, 7])
    await expect(sandbox.run('exit 7', { check: true })).rejects.toMatchObject({ code: 'exec_failed' })
  })

  it('get bytes on their standard input', async () => {
    expect((await sandbox.run(['cat'], { input: 'ünïcode\n' })).stdout).toBe('ünïcode\n')
  })

  it('name a program that is not there', async () => {
    const error = await sandbox.run(['no-such-program']).catch((caught: unknown) => caught)
    expect(isAtollError(error, 'exec_failed')).toBe(true)
  })

  it('tell the guest deadline from the client’s', async () => {
    const late = await sandbox.run(['sleep', '60'], { timeoutMs: 200 })
    expect([late.ok, late.exit.timedOut]).toEqual([false, true])
    await expect(sandbox.run(['sleep', '60'], { deadlineMs: 200 })).rejects.toMatchObject({
      code: 'deadline_client',
    })
  })

  it('are fed, followed, signalled and waited for by a handle', async () => {
    const cat = await sandbox.start(['cat'], { stdin: 'pipe' })
    await cat.stdin.write('one\n')
    await cat.stdin.write('two\n')
    await cat.stdin.close()
    const events: ProcessEvent[] = []
    for await (const event of cat) events.push(event)
    const text = events
      .map((event) => (event.type === 'stdout' ? Buffer.from(event.data).toString() : ''))
      .join('')
    expect(text).toBe('one\ntwo\n')
    expect(events.at(-1)).toMatchObject({ type: 'exit', exit: { code: 0 } })

    const sleep = await sandbox.start(['sleep', '60'])
    const waiting = sleep.wait()
    await sleep.kill()
    expect((await waiting).signal).toBe('SIGKILL')
    expect((await sandbox.process(sleep.id).info()).state).toBe('exited')
    expect((await sandbox.processes()).map(({ id }) => id)).toContain(cat.id)
  })

  it('end when their run is canceled', async () => {
    const cancel = new AbortController()
    const running = sandbox.run(['sleep', '60'], { id: 'canceled-one', signal: cancel.signal })
    await expect.poll(async () => (await sandbox.processes()).map(({ id }) => id)).toContain('canceled-one')
    cancel.abort()
    await expect(running).rejects.toMatchObject({ code: 'canceled' })
    const left = (await sandbox.processes()).filter(
      ({ id, state }) => id === 'canceled-one' && state === 'running',
    )
    expect(left).toEqual([])
  })

  it('have terminals', async () => {
    let text = ''
    const seen = Promise.withResolvers<void>()
    await using terminal = await sandbox.pty({
      command: ['cat'],
      onData: (data) => {
        text += new TextDecoder().decode(data)
        if (text.includes('typed')) seen.resolve()
      },
    })
    terminal.resize({ columns: 100, rows: 40 })
    terminal.write('typed\n')
    await seen.promise
    await terminal.process.kill()
    expect((await terminal.exited).signal).toBe('SIGKILL')
  })
})

describe('files', () => {
  it('are written with a receipt and read back, whole and in part', async () => {
    const written = await sandbox.files.write('/tmp/a/b.txt', 'hello', { parents: true })
    expect(written).toMatchObject({
      size: 5,
      sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
    })
    expect(await sandbox.files.readText('/tmp/a/b.txt')).toBe('hello')
    expect(await sandbox.files.readText('/tmp/a/b.txt', { from: 1, to: 3 })).toBe('el')
    expect((await sandbox.files.list('/tmp/a')).entries.map(({ name }) => name)).toEqual(['b.txt'])
    await sandbox.files.move('/tmp/a/b.txt', '/tmp/a/c.txt')
    expect(await sandbox.files.exists('/tmp/a/b.txt')).toBe(false)
    expect((await sandbox.files.stat('/tmp/a/c.txt')).size).toBe(5)
    await sandbox.files.makeDirectory('/tmp/a/d')
    expect((await sandbox.files.remove('/tmp/a', { recursive: true })).removed).toBeGreaterThan(2)
  })

  it('are written from a stream and read as one', async () => {
    async function* source() {
      for (let part = 0; part < 64; part++) yield new Uint8Array(65_536).fill(part)
    }
    expect((await sandbox.files.write('/tmp/big', source())).size).toBe(64 * 65_536)
    let bytes = 0
    for await (const chunk of await sandbox.files.readStream('/tmp/big')) bytes += chunk.length
    expect(bytes).toBe(64 * 65_536)
  })

  it('name the path that is not there', async () => {
    await expect(sandbox.files.read('/nope')).rejects.toMatchObject({ code: 'path_not_found' })
  })
})

describe('keys', () => {
  it('stop at once when they are revoked', async () => {
    const key = await stack.atoll.keys.create({ name: 'short', scopes: ['sandboxes:read'] })
    const other = new Atoll({ baseUrl: stack.url, apiKey: key.secret })
    expect((await Sandbox.connect(sandbox.id, { atoll: other })).id).toBe(sandbox.id)
    await expect(Sandbox.create({ atoll: other })).rejects.toMatchObject({ code: 'forbidden' })
    await stack.atoll.keys.revoke(key.id)
    await expect(Sandbox.connect(sandbox.id, { atoll: other })).rejects.toMatchObject({
      code: 'unauthenticated',
    })
    const listed: (number | null)[] = []
    for await (const { id, revokedAtMs } of stack.atoll.keys.list())
      if (id === key.id) listed.push(revokedAtMs)
    expect(listed[0]).toBeGreaterThan(0)
  })
})

describe('templates', () => {
  it('are built with a log that ends, listed, used and deleted', async () => {
    const source = { type: 'template' as const, name: 'base' }
    const build = await stack.atoll.templates.build({
      name: 'mine',
      source,
      steps: [{ type: 'env', env: { A: 'b' } }],
    })
    const types: string[] = []
    const done = await build.wait({ onEvent: ({ type }) => types.push(type) })
    expect(done.state).toBe('succeeded')
    expect(types.at(-1)).toBe('done')
    await using mine = await create({ template: 'mine' })
    expect((await mine.run('echo $A')).stdout).toBe('b\n')
    await mine.delete()
    const names: string[] = []
    for await (const { name } of stack.atoll.templates.list()) names.push(name)
    expect(names).toEqual(expect.arrayContaining(['base', 'mine']))
    await stack.atoll.templates.delete('mine')
  })

  it('say why a build failed', async () => {
    const source = { type: 'template' as const, name: 'base' }
    const build = await stack.atoll.templates.build({
      name: 'bad',
      source,
      steps: [{ type: 'run', shell: 'exit 1' }],
    })
    await expect(build.wait()).rejects.toThrow(/run/)
  })

  it('take uploads that are what they were announced to be', async () => {
    expect((await stack.atoll.templates.upload('archive')).sizeBytes).toBe(7)
    const wrong = stack.atoll.templates.upload('archive', { sha256: '0'.repeat(64) })
    await expect(wrong).rejects.toMatchObject({ code: 'hash_mismatch' })
  })
})
