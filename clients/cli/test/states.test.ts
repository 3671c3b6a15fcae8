import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { simulatedStack } from '../../sdk/test/simulated-stack.ts'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
let stack: Awaited<ReturnType<typeof simulatedStack>>
beforeAll(async () => {
  stack = await simulatedStack()
})
afterAll(() => stack[Symbol.asyncDispose]())

const atoll = async (...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> => {
  const env = { ...process.env, ATOLL_URL: stack.url, ATOLL_API_KEY: stack.apiKey, NO_COLOR: '1' }
  const child = spawn(process.execPath, [main, ...args], { env })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (text: string) => (said[name] += text))
  child.stdin.end()
  return await new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })))
}

const create = async (...args: string[]): Promise<string> => {
  const made = await atoll('sandbox', 'create', '--runtime', 'simulated', ...args)
  expect(made).toMatchObject({ code: 0 })
  return made.stdout.trim()
}

it('pauses at both depths, shows them, and resumes', async () => {
  const id = await create()
  expect(await atoll('sandbox', 'pause', id)).toMatchObject({ code: 0, stdout: `${id} paused (stored)\n` })
  expect((await atoll('sandbox', 'list', '--state', 'paused')).stdout).toContain('paused (stored)')
  expect(await atoll('sandbox', 'resume', id)).toMatchObject({ code: 0, stdout: `${id} running\n` })
  expect((await atoll('sandbox', 'pause', '--frozen', id)).stdout).toBe(`${id} paused (frozen)\n`)
  const json = await atoll('sandbox', 'start', id, '--json')
  expect(JSON.parse(json.stdout)).toMatchObject({ id, state: 'running', depth: null })
  expect((await atoll('sandbox', 'stop', id)).stdout).toBe(`${id} stopped\n`)
  expect((await atoll('sandbox', 'start', id)).stdout).toBe(`${id} running\n`)
})

it('goes on with the others where one is not there, and fails', async () => {
  const id = await create()
  const paused = await atoll('sandbox', 'pause', 'sbx_aaaaaaaaaaaaaaaaaaaa', id)
  expect(paused).toMatchObject({ code: 125, stdout: `${id} paused (stored)\n` })
  expect(paused.stderr).toContain('not_found')
})

it('forks, and says one id a line', async () => {
  const id = await create('--label', 'a=x')
  const forked = await atoll('sandbox', 'fork', id, '--count', '3')
  expect(forked).toMatchObject({ code: 0 })
  const children = forked.stdout.trim().split('\n')
  expect(new Set([id, ...children]).size).toBe(4)
  expect((await atoll('sandbox', 'list', '-q', '--label', 'a=x')).stdout.trim().split('\n')).toHaveLength(4)
  expect((await atoll('sandbox', 'info', children[0] ?? '')).stdout).toContain(`forked from  ${id}`)
  expect(await atoll('sandbox', 'fork', id, '--count', '0')).toMatchObject({ code: 125 })
})

it('keeps snapshots by name, creates from them, and deletes them', async () => {
  const id = await create()
  await stack.atoll.sandboxes.connect(id).then((sandbox) => sandbox.files.write('/root/note', 'saved'))
  const made = await atoll('snapshot', 'create', id, '--name', 'before', '--json')
  expect(made).toMatchObject({ code: 0 })
  expect(JSON.parse(made.stdout)).toMatchObject({ name: 'before', kind: 'memory', sandbox: id })
  expect((await atoll('snapshot', 'list')).stdout).toMatch(/memory .* before\n/)
  const copy = await atoll('sandbox', 'create', '--snapshot', 'before')
  expect(copy).toMatchObject({ code: 0 })
  expect((await atoll('sandbox', 'exec', copy.stdout.trim(), '--', 'cat', '/root/note')).stdout).toBe('saved')
  expect(await atoll('sandbox', 'create', '--snapshot', 'before', '--template', 'base')).toMatchObject({
    code: 125,
  })
  expect((await atoll('snapshot', 'delete', 'before')).stdout).toMatch(/^snp_\w+ deleted: /)
  const missing = await atoll('sandbox', 'create', '--snapshot', 'before')
  expect(missing).toMatchObject({ code: 125, stdout: '' })
  expect(missing.stderr).toContain('cannot find snapshot before')
})

it('asks for a lease that pauses', async () => {
  const id = await create('--idle', '5m', '--on-timeout', 'pause', '--no-auto-resume')
  const { info } = await stack.atoll.sandboxes.connect(id)
  expect(info).toMatchObject({
    onTimeout: 'pause',
    autoResume: false,
    idle: { afterMs: 300_000, action: 'pause' },
  })
  expect(await atoll('sandbox', 'create', '--idle-action', 'freeze')).toMatchObject({ code: 125 })
  expect((await atoll('completion', 'bash')).stdout).toContain('"snapshot create") candidates="--name --disk')
})
