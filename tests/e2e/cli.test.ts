import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createSandbox, deleteSandbox, until } from './call.ts'
import { atollCommand, type CommandOptions, type CommandResult } from './command-line.ts'
import { type Drill, livingSandboxes, small, startDrill } from './drill.ts'

/** The CLI from outside: child processes, exit codes, what is on which stream. */
describe('the command line', () => {
  let drill: Drill
  const folder = mkdtempSync('/tmp/atoll-cli-')
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(async () => {
    await drill?.[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })
  const atoll = (argv: readonly string[], options?: CommandOptions): Promise<CommandResult> =>
    atollCommand(drill.stack, argv, options)

  it('runs one command: streams apart, stdin through, the code passed on, the sandbox gone', async () => {
    const ran = await atoll(
      ['run', '-e', 'NAME=value', '--', 'sh', '-c', 'cat; echo "$NAME"; echo problem >&2; exit 42'],
      { input: 'through\n' },
    )
    expect(ran).toMatchObject({ code: 42, stdout: 'through\nvalue\n' })
    expect(ran.stderr).toContain('problem')
    expect(await livingSandboxes(drill.stack)).toEqual([])
    expect(await drill.difference()).toEqual({})
  })

  const codes: [string, string[], number][] = [
    ['success', ['--', 'true'], 0],
    ['the command’s own code', ['--', 'sh', '-c', 'exit 3'], 3],
    ['a signal', ['--', 'sh', '-c', 'kill -TERM $$'], 128 + 15],
    ['a deadline', ['--timeout', '1s', '--', 'sleep', '30'], 124],
    ['no such program', ['--', 'no-such-program'], 127],
    ['a program that cannot be executed', ['--', '/etc/passwd'], 126],
    ['a template that is not there', ['--template', 'no-such-template', '--', 'true'], 125],
    ['wrong usage', ['--no-such-flag'], 125],
  ]
  it.each(codes)('ends with the right code: %s', async (_, argv, code) => {
    const ran = await atoll(['run', '--memory', '256M', ...argv])
    expect(ran.code, ran.stderr).toBe(code)
    // A signal and a deadline speak by their codes, as in a shell; what is Atoll's own says why.
    if (code >= 125 && code <= 127) expect(ran.stderr.trim()).not.toBe('')
    expect(await livingSandboxes(drill.stack)).toEqual([])
  })

  it('says 125 and what to do when nobody listens, and when the key is wrong', async () => {
    const nobody = await atoll(['sandbox', 'list'], { env: { ATOLL_URL: 'http://127.0.0.1:9' } })
    expect(nobody.code).toBe(125)
    expect(nobody.stderr).toMatch(/127\.0\.0\.1:9|atoll up/)
    const wrong = await atoll(['--json', 'sandbox', 'list'], { env: { ATOLL_API_KEY: 'atoll_wrong' } })
    expect(wrong).toMatchObject({ code: 125, stdout: '' })
    expect(JSON.parse(wrong.stderr)).toMatchObject({ error: { code: 'unauthenticated' } })
  })

  it('ends at Ctrl-C with 130, and takes the sandbox with it', async () => {
    const ran = await atoll(['run', '--', 'sh', '-c', 'echo begun; sleep 60'], {
      onOutput: (stdout, signal) => {
        if (stdout.includes('begun')) signal('SIGINT')
      },
    })
    expect(ran).toMatchObject({ code: 130, signal: null })
    await until('the sandbox is gone', 10_000, async () =>
      (await livingSandboxes(drill.stack)).length === 0 ? true : undefined,
    )
    expect(await drill.difference()).toEqual({})
  })

  it('creates, lists, executes, shows logs and deletes, in JSON', async () => {
    const json = async <Body>(...argv: string[]): Promise<Body> => {
      const done = await atoll(['--json', ...argv])
      expect(done, done.stderr).toMatchObject({ code: 0 })
      return JSON.parse(done.stdout) as Body
    }
    const created = await json<{ id: string; state: string }>('sandbox', 'create', '--memory', '256M')
    expect(created).toMatchObject({ id: expect.stringMatching(/^sbx_/), state: 'running' })
    const listed = await json<{ id: string }[]>('sandbox', 'list')
    expect(listed.map(({ id }) => id)).toEqual([created.id])
    const ran = await json<Record<string, unknown>>(
      'sandbox',
      'exec',
      created.id,
      '--',
      'sh',
      '-c',
      'echo out',
    )
    expect(ran).toMatchObject({ sandbox: created.id, exit: { code: 0 } })
    expect(JSON.stringify(ran)).toContain('out')
    const info = await json<Record<string, unknown>>('sandbox', 'info', created.id)
    expect(info).toMatchObject({ id: created.id, isolation: { runtime: 'gvisor', strength: 'strong' } })
    const logs = await atoll(['sandbox', 'logs', created.id])
    expect(logs.code).toBe(0)
    expect(logs.stdout).toMatch(/created|running|started/)
    const deleted = await json<Record<string, unknown>>('sandbox', 'delete', created.id)
    expect(deleted).toMatchObject({ id: created.id, receipt: { processes: expect.any(Number) } })
    expect((await atoll(['sandbox', 'exec', created.id, '--', 'true'])).code).toBe(125)
  })

  it('takes up the output of a detached process, with its code', async () => {
    const sandbox = await createSandbox(drill.stack, { limits: small })
    const started = await atoll([
      'sandbox',
      'exec',
      '-d',
      sandbox.id,
      '--',
      'sh',
      '-c',
      'echo one; sleep 1; echo two; exit 9',
    ])
    expect(started.code).toBe(0)
    const logs = await atoll(['sandbox', 'logs', sandbox.id, started.stdout.trim()])
    expect(logs).toMatchObject({ code: 9, stdout: 'one\ntwo\n' })
    await deleteSandbox(drill.stack, sandbox.id)
  })

  it('copies files and folders both ways, byte for byte', async () => {
    const sandbox = await createSandbox(drill.stack, { limits: small })
    const content = randomBytes(3 * 1024 ** 2)
    mkdirSync(join(folder, 'tree/deep/er'), { recursive: true })
    writeFileSync(join(folder, 'tree/deep/er/file'), content)
    writeFileSync(join(folder, 'tree/with space'), 'ä\n', { mode: 0o755 })
    symlinkSync('with space', join(folder, 'tree/link'))
    writeFileSync(join(folder, 'single'), content)

    expect(await atoll(['cp', join(folder, 'single'), `${sandbox.id}:/tmp/single`])).toMatchObject({
      code: 0,
    })
    expect(await atoll(['cp', join(folder, 'tree'), `${sandbox.id}:/tmp/`])).toMatchObject({ code: 0 })
    const seen = await atoll([
      'sandbox',
      'exec',
      sandbox.id,
      '--',
      'sh',
      '-c',
      'sha256sum < /tmp/single; cd /tmp/tree; sha256sum < deep/er/file; cat "with space"; readlink link; stat -c %a "with space"',
    ])
    const hash = `${createHash('sha256').update(content).digest('hex')}  -`
    expect(seen.stdout).toBe(`${hash}\n${hash}\nä\nwith space\n755\n`)

    expect(await atoll(['cp', `${sandbox.id}:/tmp/tree`, join(folder, 'back')])).toMatchObject({ code: 0 })
    expect(await atoll(['cp', `${sandbox.id}:/tmp/single`, join(folder, 'single-back')])).toMatchObject({
      code: 0,
    })
    expect(readFileSync(join(folder, 'back/deep/er/file')).equals(content)).toBe(true)
    expect(readFileSync(join(folder, 'back/with space'), 'utf8')).toBe('ä\n')
    expect(readFileSync(join(folder, 'single-back')).equals(content)).toBe(true)

    const none = await atoll(['cp', `${sandbox.id}:/tmp/none`, join(folder, 'none')])
    expect(none.code).toBe(125)
    expect(none.stderr).toContain('/tmp/none')
    await deleteSandbox(drill.stack, sandbox.id)
  })

  it('makes and revokes keys, which stop at once', async () => {
    const made = JSON.parse(
      (await atoll(['--json', 'key', 'create', 'drill', '--scope', 'sandboxes:read'])).stdout,
    ) as {
      id: string
      secret: string
    }
    const env = { ATOLL_API_KEY: made.secret }
    expect((await atoll(['sandbox', 'list'], { env })).code).toBe(0)
    expect((await atoll(['run', '--', 'true'], { env })).code).toBe(125)
    const listed = await atoll(['key', 'list'])
    expect(listed.stdout).toContain(made.id)
    expect(listed.stdout).not.toContain(made.secret)
    expect((await atoll(['key', 'revoke', made.id])).code).toBe(0)
    expect((await atoll(['sandbox', 'list'], { env })).code).toBe(125)
  })
})
