import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { simulatedStack } from '../../sdk/test/simulated-stack.ts'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'atoll-cli-'))
let stack: Awaited<ReturnType<typeof simulatedStack>>

beforeAll(async () => {
  stack = await simulatedStack()
  // As `atoll up` leaves it.
  mkdirSync(join(folder, 'atoll'))
  const config = JSON.stringify({ url: stack.url, apiKey: stack.apiKey })
  writeFileSync(join(folder, 'atoll/config.json'), config, { mode: 0o600 })
})
afterAll(async () => {
  await stack[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const start = (args: readonly string[], env: Record<string, string> = {}) => {
  const { ATOLL_API_KEY: _key, ATOLL_URL: _url, ...rest } = process.env
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...rest, XDG_CONFIG_HOME: folder, ...env },
  })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text))
  const ended = new Promise<Ran>((resolve) => child.once('close', (code) => resolve({ code, ...said })))
  return { child, said, ended }
}

const atoll = (
  args: readonly string[],
  options: { input?: string; env?: Record<string, string> } = {},
): Promise<Ran> => {
  const { child, ended } = start(args, options.env)
  child.stdin.end(options.input ?? '')
  return ended
}

const run = (...args: string[]): Promise<Ran> => atoll(['run', '--runtime', 'simulated', ...args])
const living = async (): Promise<string[]> => {
  const ids: string[] = []
  for await (const { id } of stack.atoll.sandboxes.list()) ids.push(id)
  return ids
}

describe('atoll run', () => {
  it('passes output and exit code through, and leaves no sandbox', async () => {
    expect(await run('--', 'echo', 'hello')).toMatchObject({ code: 0, stdout: 'hello\n', stderr: '' })
    expect(await run('--', 'sh', '-c', 'exit 42')).toMatchObject({ code: 42 })
    expect(await living()).toEqual([])
  })

  it('passes standard input through', async () => {
    const ran = await atoll(['run', '--runtime', 'simulated', '--', 'cat'], { input: 'from here\n' })
    expect(ran).toMatchObject({ code: 0, stdout: 'from here\n' })
  })

  it('ends with 124 at the deadline, 127 for no program, 125 for its own failures', async () => {
    expect((await run('--timeout', '200ms', '--', 'sleep', '60')).code).toBe(124)
    expect((await run('--', 'no-such-program')).code).toBe(127)
    expect((await run('--template', 'nope', '--', 'true')).code).toBe(125)
    expect((await run('--no-such-flag', '--', 'true')).code).toBe(125)
    expect((await atoll(['run', '--', 'true'], { env: { ATOLL_API_KEY: 'atoll_wrong_key' } })).code).toBe(125)
    expect(await living()).toEqual([])
  })

  it('ends with 130 at Ctrl-C, and takes its sandbox along', async () => {
    const { child, ended } = start(['run', '--runtime', 'simulated', '--', 'sh', '-c', 'echo up; sleep 60'])
    await new Promise((resolve) => child.stdout.once('data', resolve))
    child.kill('SIGINT')
    expect((await ended).code).toBe(130)
    expect(await living()).toEqual([])
  })

  it('puts files in and sets variables', async () => {
    const local = join(folder, 'data.txt')
    writeFileSync(local, 'content')
    expect((await run('--file', `${local}:/tmp/in.txt`, '--', 'cat', '/tmp/in.txt')).stdout).toBe('content')
    expect((await run('--env', 'NAME=value', '--', 'sh', '-c', 'echo $NAME')).stdout).toBe('value\n')
  })

  it('answers in JSON', async () => {
    const { stdout, code } = await run('--json', '--', 'sh', '-c', 'echo out; exit 3')
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toMatchObject({
      exit: { code: 3 },
      stdout: 'out\n',
      isolation: { runtime: 'simulated' },
    })
  })
})

describe('atoll sandbox', () => {
  it('creates, lists, shows, runs in, logs and deletes', async () => {
    const created = await atoll(['sandbox', 'create', '--runtime', 'simulated', '--name', 'mine'])
    const id = created.stdout.trim()
    expect(id).toMatch(/^sbx_[a-z2-7]{20}$/)
    expect(created.stderr).toContain('simulated')
    expect((await atoll(['sandbox', 'list'])).stdout).toContain(id)
    expect(JSON.parse((await atoll(['sandbox', 'list', '--json'])).stdout)[0]).toMatchObject({
      id,
      name: 'mine',
    })
    expect((await atoll(['sandbox', 'info', id])).stdout).toMatch(/isolation\s+simulated \(none\)/)

    expect(await atoll(['sandbox', 'exec', id, '--', 'sh', '-c', 'echo in; exit 5'])).toMatchObject({
      code: 5,
      stdout: 'in\n',
    })
    const detached = await atoll(['sandbox', 'exec', '-d', id, '--', 'echo', 'later'])
    const process_ = detached.stdout.trim()
    expect(await atoll(['sandbox', 'logs', id, process_])).toMatchObject({ code: 0, stdout: 'later\n' })

    const deleted = await atoll(['sandbox', 'delete', '--json', id])
    expect(JSON.parse(deleted.stdout)).toMatchObject({ id, receipt: { files: expect.any(Number) } })
    const log = await atoll(['sandbox', 'logs', '--json', id])
    const types = log.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { type: string }).type)
    expect(types.length).toBeGreaterThan(1)
  })

  it('tells an error in JSON on stderr, and goes on with the others', async () => {
    const missing = 'sbx_aaaaaaaaaaaaaaaaaaaa'
    const { code, stdout, stderr } = await atoll(['sandbox', 'delete', '--json', missing])
    expect([code, stdout]).toEqual([125, ''])
    expect(JSON.parse(stderr).error).toMatchObject({ code: 'not_found' })
  })
})

describe('atoll cp', () => {
  it('copies files both ways, and folders out of a sandbox without following links', async () => {
    const sandbox = await stack.atoll.sandboxes.create({ runtime: 'simulated' })
    const local = join(folder, 'one.txt')
    writeFileSync(local, 'one')
    expect(await atoll(['cp', local, `${sandbox.id}:/tmp/one.txt`])).toMatchObject({ code: 0 })
    await sandbox.files.write('/tmp/folder/deep/two.txt', 'two', { parents: true })
    expect(await atoll(['cp', `${sandbox.id}:/tmp/one.txt`, join(folder, 'back.txt')])).toMatchObject({
      code: 0,
    })
    expect(readFileSync(join(folder, 'back.txt'), 'utf8')).toBe('one')
    expect(await atoll(['cp', `${sandbox.id}:/tmp/folder`, join(folder, 'out')])).toMatchObject({ code: 0 })
    expect(readFileSync(join(folder, 'out/deep/two.txt'), 'utf8')).toBe('two')

    // A link that lies in the way is not written through.
    rmSync(join(folder, 'out/deep'), { recursive: true })
    mkdirSync(join(folder, 'elsewhere'))
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'out/deep'))
    const refused = await atoll(['cp', `${sandbox.id}:/tmp/folder/`, join(folder, 'out')])
    expect(refused.code).toBe(refused.stderr.includes('no folder') ? 125 : 0)
    expect(() => statSync(join(folder, 'elsewhere/two.txt'))).toThrow()
    await sandbox.delete()
  })

  it('needs one side to be a sandbox', async () => {
    expect(await atoll(['cp', 'a', 'b'])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('<id>:<path>'),
    })
  })
})

describe('atoll key and template', () => {
  it('create, list and revoke keys', async () => {
    const { stdout } = await atoll(['key', 'create', 'robot', '--json'])
    const key = JSON.parse(stdout) as { id: string; secret: string }
    expect(await atoll(['sandbox', 'list'], { env: { ATOLL_API_KEY: key.secret } })).toMatchObject({
      code: 0,
    })
    expect((await atoll(['key', 'list'])).stdout).toContain(key.id)
    expect((await atoll(['key', 'list'])).stdout).not.toContain(key.secret)
    expect((await atoll(['key', 'revoke', key.id])).code).toBe(0)
    expect((await atoll(['sandbox', 'list'], { env: { ATOLL_API_KEY: key.secret } })).code).toBe(125)
  })

  it('build with steps in their order, say what failed, and delete', async () => {
    const built = await atoll(['template', 'build', 'mine', '--env', 'A=1', '--workdir', '/tmp'])
    expect(built).toMatchObject({ code: 0 })
    expect(built.stderr).toMatch(/step 1.*env[^]*step 2.*workdir/)
    expect((await atoll(['template', 'list'])).stdout).toContain('mine')
    expect(await atoll(['template', 'build', 'bad', '--run', 'false'])).toMatchObject({ code: 125 })
    expect((await atoll(['template', 'delete', 'mine'])).code).toBe(0)
  })
})

describe('atoll completion', () => {
  it('prints scripts that their shells take', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await atoll(['completion', shell])
      expect(code).toBe(0)
      expect(stdout).toContain('sandbox')
    }
    const { stdout } = await atoll(['completion', 'bash'])
    const probe = `${stdout}\nCOMP_WORDS=(atoll sandbox "") COMP_CWORD=2; _atoll; echo "\${COMPREPLY[*]}"`
    const child = spawn('bash', ['-c', probe])
    let said = ''
    for await (const chunk of child.stdout) said += String(chunk)
    expect(said).toMatch(/list create exec shell logs info delete/)
    expect((await atoll(['completion', 'tcsh'])).code).not.toBe(0)
  })
})
