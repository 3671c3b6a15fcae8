import { afterAll, beforeAll, expect, it } from 'vitest'
import { type CreateOptions, isAtollError, type Sandbox } from '../src/index.ts'
import { simulatedStack } from './simulated-stack.ts'

let stack: Awaited<ReturnType<typeof simulatedStack>>
const create = (more: CreateOptions = {}): Promise<Sandbox> =>
  stack.atoll.sandboxes.create({ runtime: 'simulated', ...more })

beforeAll(async () => {
  stack = await simulatedStack()
})
afterAll(() => stack[Symbol.asyncDispose]())

it.each(['frozen', 'stored'] as const)(
  'pauses %s, and a call brings it back with its files',
  async (depth) => {
    await using sandbox = await create()
    await sandbox.files.write('/root/kept', 'value')
    await sandbox.pause({ depth })
    expect([sandbox.info.state, sandbox.depth]).toEqual(['paused', depth])
    expect(await sandbox.files.readText('/root/kept')).toBe('value')
    await sandbox.refresh()
    expect([sandbox.info.state, sandbox.depth]).toEqual(['running', null])
  },
)

it('stays paused where autoResume is off, says how to go on, and does', async () => {
  await using sandbox = await create({ autoResume: false })
  await sandbox.pause()
  const refused = await sandbox.run(['true']).catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'state_conflict', sandboxState: 'paused' })
  expect(isAtollError(refused) && `${refused.message}; ${refused.remedy}`).toContain('resume')
  const { generation } = sandbox
  await sandbox.resume()
  expect(sandbox.generation).toBe(generation + 1)
  expect((await sandbox.run(['true'])).ok).toBe(true)
})

it('forks into children that share nothing afterwards', async () => {
  await using parent = await create({ labels: { a: 'x' } })
  await parent.files.write('/root/kept', 'before')
  const children = await parent.fork({ count: 3 })
  expect(new Set([parent.id, ...children.map(({ id }) => id)]).size).toBe(4)
  await parent.files.write('/root/kept', 'after')
  for (const child of children) {
    expect(child.info).toMatchObject({ parent: parent.id, labels: { a: 'x' }, state: 'running' })
    expect(await child.files.readText('/root/kept')).toBe('before')
    await child.delete()
  }
})

it.each(['memory', 'disk'] as const)('saves %s, creates from it, and forgets it', async (kind) => {
  await using sandbox = await create()
  await sandbox.files.write('/root/kept', 'saved')
  const saved = await sandbox.snapshot({ kind, name: `of ${kind}` })
  expect(saved).toMatchObject({ kind, sandbox: sandbox.id, name: `of ${kind}` })
  await sandbox.files.write('/root/kept', 'later')
  await using copy = await stack.atoll.sandboxes.create({ snapshot: saved.id })
  expect(copy.info.snapshot).toBe(saved.id)
  expect(await copy.files.readText('/root/kept')).toBe('saved')
  const found = []
  for await (const { id } of stack.atoll.snapshots.list({ sandbox: sandbox.id })) found.push(id)
  expect(found).toEqual([saved.id])
  expect(await stack.atoll.snapshots.get(saved.id)).toEqual(saved)
  expect((await stack.atoll.snapshots.delete(saved.id)).id).toBe(saved.id)
  await expect(stack.atoll.snapshots.get(saved.id)).rejects.toMatchObject({ code: 'not_found' })
  expect(await copy.files.readText('/root/kept')).toBe('saved')
})
