import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { makeId, type NodeForkChild } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { heldInMemory, holdInMemory, readIn, writeIn } from './test-memory.ts'
import { runIn, type TestNode, testNode, testSpec } from './test-node.ts'

const prepared = async (test: TestNode): Promise<string> => {
  const spec = testSpec()
  await test.node.create(spec)
  await writeIn(test.node, spec.id, 'file', 'kept')
  await holdInMemory(test.node, spec.id, 'secret')
  return spec.id
}

const children = (count: number): NodeForkChild[] =>
  Array.from({ length: count }, (_, index) => ({
    id: makeId('sbx', randomBytes(20)),
    hostname: `child-${index}`,
    lease: testSpec().lease,
  }))

const snapshotId = (): string => makeId('snp', randomBytes(20))

describe('a fork', () => {
  it.each(['running', 'frozen', 'stored'] as const)(
    'of one that is %s copies memory and disk',
    async (state) => {
      await using test = await testNode()
      const id = await prepared(test)
      if (state !== 'running') await test.node.pause(id, state, 'me')
      const asked = children(3)
      const fork = await test.node.fork(id, asked, 'me')
      expect(fork.children.map((child) => child.id)).toEqual(asked.map((child) => child.id))
      expect(await test.node.get(id)).toMatchObject(
        state === 'running' ? { state } : { state: 'paused', depth: state },
      )
      for (const child of fork.children) {
        expect(child).toMatchObject({ sandbox: { state: 'running', generation: 2 } })
        await writeIn(test.node, child.id, 'file', child.id)
        expect(await heldInMemory(test.node, child.id)).toBe('secret')
      }
      for (const { id: child, hostname } of asked) {
        expect(await readIn(test.node, child, 'file')).toBe(child)
        expect(await runIn(test.node, child, ['hostname'])).toMatchObject({ stdout: `${hostname}\n` })
      }
      expect(await readIn(test.node, id, 'file')).toBe('kept')
      expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
      // A fork of a fork.
      const [grandchild] = children(1)
      await test.node.fork(asked[0]!.id, [grandchild!], 'me')
      expect(await test.node.get(grandchild!.id)).toMatchObject({ generation: 3 })
      expect(await readIn(test.node, grandchild!.id, 'file')).toBe(asked[0]!.id)
    },
  )

  it('asked again answers the same children, and refuses ids that stand for others', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const asked = children(2)
    const answers = await Promise.all([test.node.fork(id, asked, 'me'), test.node.fork(id, asked, 'me')])
    const again = await test.node.fork(id, asked, 'me')
    expect(test.world.machines.size).toBe(3)
    for (const { children: made } of [...answers, again])
      expect(made).toMatchObject(asked.map((child) => ({ id: child.id, sandbox: { state: 'running' } })))
    const other = await prepared(test)
    await expect(test.node.fork(other, asked, 'me')).rejects.toMatchObject({ code: 'conflict' })
    await expect(test.node.fork(id, [{ ...asked[0]!, id }], 'me')).rejects.toMatchObject({
      code: 'invalid_request',
    })
  })

  it('tells of each child: those that have room are there', async () => {
    await using test = await testNode({ options: { sandboxes: 3 } })
    const id = await prepared(test)
    const fork = await test.node.fork(id, children(4), 'me')
    expect(fork.children.map((child) => ('sandbox' in child ? 'made' : child.error.code))).toEqual([
      'made',
      'made',
      'overloaded',
      'overloaded',
    ])
  })

  it('of a parent that cannot be captured leaves no child, and the parent runs', async () => {
    await using test = await testNode({
      wrap: (driver) => ({
        ...driver,
        start: async (spec, signal, disk) => ({
          ...(await driver.start(spec, signal, disk)),
          checkpoint: () => Promise.reject(new Error('no')),
        }),
      }),
    })
    const id = await prepared(test)
    const asked = children(2)
    await expect(test.node.fork(id, asked, 'me')).rejects.toMatchObject({ code: 'internal' })
    for (const child of asked)
      expect(await test.node.get(child.id)).toMatchObject({ ended: { cause: 'create_failed' } })
    expect(await heldInMemory(test.node, id)).toBe('secret')
    expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
    expect(test.world.machines.size).toBe(1)
  })
})

describe('a snapshot', () => {
  it.each(['running', 'frozen', 'stored'] as const)(
    'of memory of one that is %s is created from again and again',
    async (state) => {
      await using test = await testNode()
      const id = await prepared(test)
      if (state !== 'running') await test.node.pause(id, state, 'me')
      const order = { id: snapshotId(), kind: 'memory' } as const
      const taken = await test.node.snapshot(id, order, 'me')
      expect(taken).toMatchObject({ id: order.id, kind: 'memory', sandbox: id })
      expect(taken.sizeBytes).toBeGreaterThan(0)
      expect(await test.node.snapshot(id, order, 'me')).toEqual(taken)
      expect(await test.node.snapshots()).toEqual([taken])
      expect(await heldInMemory(test.node, id)).toBe('secret')
      await writeIn(test.node, id, 'file', 'changed')
      for (let round = 0; round < 2; round++) {
        const copy = testSpec({ snapshot: order.id })
        await test.node.create(copy)
        expect(await readIn(test.node, copy.id, 'file')).toBe('kept')
        expect(await heldInMemory(test.node, copy.id)).toBe('secret')
      }
      expect((await test.node.deleteSnapshot(order.id)).freedBytes).toBe(taken.sizeBytes)
      await expect(test.node.deleteSnapshot(order.id)).rejects.toMatchObject({ code: 'not_found' })
      await expect(test.node.create(testSpec({ snapshot: order.id }))).rejects.toMatchObject({
        code: 'not_found',
      })
    },
  )

  it('of a stored one shares its files, which go with the last of both', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    await test.node.pause(id, 'stored', 'me')
    const order = { id: snapshotId(), kind: 'memory' } as const
    await test.node.snapshot(id, order, 'me')
    expect((await readdir(join(test.folder, 'snapshots'))).length).toBe(1)
    await test.node.delete(id, 'deleted', 'me')
    const copy = testSpec({ snapshot: order.id })
    await test.node.create(copy)
    expect(await heldInMemory(test.node, copy.id)).toBe('secret')
    expect((await test.node.deleteSnapshot(order.id)).freedBytes).toBeGreaterThan(0)
    expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
  })

  it('of the disk has the files and no memory', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const order = { id: snapshotId(), kind: 'disk' } as const
    await test.node.snapshot(id, order, 'me')
    const copy = testSpec({ snapshot: order.id })
    await test.node.create(copy)
    expect(await readIn(test.node, copy.id, 'file')).toBe('kept')
    expect(await heldInMemory(test.node, copy.id)).toBeUndefined()
    await expect(test.node.snapshot(id, { ...order, kind: 'memory' }, 'me')).rejects.toMatchObject({
      code: 'conflict',
    })
    await test.node.pause(id, 'stored', 'me')
    await expect(test.node.snapshot(id, { id: snapshotId(), kind: 'disk' }, 'me')).rejects.toMatchObject({
      code: 'state_conflict',
    })
  })

  it('does not keep commands waiting for longer than its capture', async () => {
    await using test = await testNode()
    const id = await prepared(test)
    const [taken, ...ran] = await Promise.all([
      test.node.snapshot(id, { id: snapshotId(), kind: 'memory' }, 'me'),
      ...Array.from({ length: 20 }, (_, index) => runIn(test.node, id, ['echo', String(index)])),
    ])
    expect(taken.pausedMs).toBeGreaterThan(0)
    expect(ran.map(({ stdout }) => stdout)).toEqual(ran.map((_, index) => `${index}\n`))
  })
})
