import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeId, type SnapshotKind } from '@atoll/protocol'
import { describe, expect, it } from 'vitest'
import { runIn, type TestNode, testNode, testSpec } from './test-node.ts'

const sh = async (test: TestNode, id: string, script: string): Promise<string> =>
  (await runIn(test.node, id, ['sh', '-c', script])).stdout

/** A sandbox with a file, saved. */
const saved = async (test: TestNode, kind: SnapshotKind, spec = testSpec()) => {
  await test.node.create(spec)
  await sh(test, spec.id, 'echo before > file')
  const id = makeId('snp', randomBytes(20))
  await test.node.snapshot(spec.id, { id, kind }, 'me')
  await sh(test, spec.id, 'echo after > file')
  return { id, spec }
}

describe('a sandbox from a snapshot', () => {
  for (const kind of ['memory', 'disk'] as const)
    for (const poolMax of [0, 2])
      it(`has the files of a ${kind} snapshot and an identity of its own (pool of ${poolMax})`, async () => {
        await using test = await testNode({ options: { poolMax, templateSnapshots: poolMax > 0 } })
        const { id, spec } = await saved(test, kind)
        const copies = [
          testSpec({ snapshot: id, hostname: 'one' }),
          testSpec({ snapshot: id, hostname: 'two' }),
        ]
        for (const copy of copies) {
          const made = await test.node.create(copy)
          expect(made).toMatchObject({ state: 'running', generation: 2 })
          expect(await sh(test, copy.id, 'cat file')).toBe('before\n')
        }
        await sh(test, copies[0]!.id, 'echo mine > file')
        expect(await sh(test, copies[1]!.id, 'cat file')).toBe('before\n')
        expect(await sh(test, spec.id, 'cat file')).toBe('after\n')
        // They go on when the snapshot is gone.
        await test.node.deleteSnapshot(id)
        expect(await sh(test, copies[1]!.id, 'cat file')).toBe('before\n')
        await expect(test.node.create(testSpec({ snapshot: id }))).rejects.toMatchObject({
          code: 'not_found',
        })
      })

  it('is refused before anything is made: unknown, of another image, another disk, damaged', async () => {
    await using test = await testNode()
    const { id } = await saved(test, 'memory')
    const before = await readdir(join(test.folder, 'sandboxes'))
    const limits = { ...testSpec().limits, diskMib: 128 }
    const refused = [
      [{ snapshot: makeId('snp', randomBytes(20)) }, 'not_found'],
      [{ snapshot: id, imageDigest: 'b'.repeat(64) }, 'invalid_request'],
      [{ snapshot: id, limits }, 'invalid_request'],
    ] as const
    for (const [change, code] of refused) {
      const spec = testSpec(change)
      await expect(test.node.create(spec)).rejects.toMatchObject({ code })
      await expect(test.node.get(spec.id)).rejects.toMatchObject({ code: 'not_found' })
    }
    const [digest] = await readdir(join(test.folder, 'snapshots'))
    const folder = join(test.folder, 'snapshots', digest!)
    const [name] = (await readdir(folder)).filter((entry) => entry !== 'manifest.json')
    const bytes = await readFile(join(folder, name!))
    await writeFile(join(folder, name!), bytes.fill(0, 0, 1))
    const spec = testSpec({ snapshot: id })
    await expect(test.node.create(spec)).rejects.toMatchObject({ code: 'snapshot_invalid' })
    expect(await readdir(join(test.folder, 'sandboxes'))).toEqual(before)
  })
})
