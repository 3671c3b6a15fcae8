import { copyFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, truncateSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { ErrorBody, Sandbox, Snapshot } from '@atoll/protocol'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, expectStatus, getSandbox } from '../call.ts'
import { type Drill, livingSandboxes, small, startDrill } from '../drill.ts'
import { heldInMemory, holdInMemory } from './held-in-memory.ts'
import { nodeRecord, savedImages } from './machine-of.ts'
import { orphans } from './orphans.ts'

const gvisor = { runtime: 'gvisor', limits: small }

/** What may happen to one file of an image. Each makes a mess of it, and nothing else. */
const wounds: Record<string, (path: string) => Promise<void> | void> = {
  'a flipped byte': async (path) => {
    await using file = await open(path, 'r+')
    const byte = Buffer.alloc(1)
    const at = Math.floor(statSync(path).size / 2)
    await file.read(byte, 0, 1, at)
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at)
  },
  'a cut end': (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
  'no file': (path) => rmSync(path),
  'a link to elsewhere': (path) => {
    renameSync(path, `${path}.real`)
    symlinkSync(`${path}.real`, path)
  },
}

describe('an image with damage', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const save = async (id: string): Promise<Snapshot> =>
    expectStatus(
      await call<Snapshot>(drill.stack, 'POST', `/v1/sandboxes/${id}/snapshots`, { body: {} }),
      [201],
      'snapshot',
    )
  const folderOf = (digest: string): string =>
    join(drill.stack.dataFolder, 'snapshots', digest.replace(/^sha256:/, ''))
  const imageFiles = (folder: string): string[] => readdirSync(folder).map((name) => join(folder, name))

  it.each(Object.keys(wounds))(
    'of a snapshot, %s: refused before anything is made',
    async (wound) => {
      const { stack } = drill
      const sandbox = await createSandbox(stack, gvisor)
      const { id, digest } = await save(sandbox.id)
      const files = imageFiles(folderOf(digest))
      expect(files.length).toBeGreaterThanOrEqual(2)
      for (const path of files) {
        const copy = join(stack.dataFolder, 'whole-copy')
        copyFileSync(path, copy)
        await wounds[wound]!(path)
        const living = await livingSandboxes(stack)
        const refused = await call<ErrorBody>(stack, 'POST', '/v1/sandboxes', { body: { snapshot: id } })
        expect([path, refused.status, refused.body.code]).toEqual([path, 422, 'snapshot_invalid'])
        expect(refused.body.message).not.toBe('')
        expect(await livingSandboxes(stack)).toEqual(living)
        rmSync(path, { force: true })
        rmSync(`${path}.real`, { force: true })
        renameSync(copy, path)
      }
      expect(await orphans(stack)).toEqual([])
      // Whole again, it is as good as ever: the refusals changed nothing.
      const made = await createSandbox(stack, { snapshot: id })
      expect(made).toMatchObject({ state: 'running', snapshot: id })
    },
    120_000,
  )

  it('swapped with another snapshot is refused for both', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, gvisor)
    await holdInMemory(stack, sandbox.id)
    const [first, second] = [await save(sandbox.id), await save(sandbox.id)]
    const aside = join(stack.dataFolder, 'aside')
    renameSync(folderOf(first.digest), aside)
    renameSync(folderOf(second.digest), folderOf(first.digest))
    renameSync(aside, folderOf(second.digest))
    for (const { id } of [first, second]) {
      const refused = await call<ErrorBody>(stack, 'POST', '/v1/sandboxes', { body: { snapshot: id } })
      expect(refused).toMatchObject({ status: 422, body: { code: 'snapshot_invalid' } })
    }
    renameSync(folderOf(first.digest), aside)
    renameSync(folderOf(second.digest), folderOf(first.digest))
    renameSync(aside, folderOf(second.digest))
    expect((await createSandbox(stack, { snapshot: second.id })).state).toBe('running')
  }, 120_000)

  it('of a stored sandbox: it stays paused with its image, and resumes once that is whole again', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, gvisor)
    const held = await holdInMemory(stack, sandbox.id)
    const path = `/v1/sandboxes/${sandbox.id}`
    expectStatus(await call<Sandbox>(stack, 'POST', `${path}/pause`, { body: {} }), [200], 'pause')
    const saved = nodeRecord(stack, sandbox.id)?.saved
    const digest = savedImages(stack).find((image) => image.id === saved)?.digest ?? ''
    const file = imageFiles(folderOf(digest)).toSorted(
      (one, two) => statSync(two).size - statSync(one).size,
    )[0]!
    const copy = join(stack.dataFolder, 'whole-copy')
    copyFileSync(file, copy)
    await wounds['a flipped byte']!(file)
    for (const attempt of [
      await call<ErrorBody>(stack, 'POST', `${path}/resume`),
      await call<ErrorBody>(stack, 'POST', `${path}/processes?wait=1`, { body: { argv: ['true'] } }),
    ])
      expect(attempt).toMatchObject({ status: 422, body: { code: 'snapshot_invalid' } })
    expect(await getSandbox(stack, sandbox.id)).toMatchObject({ state: 'paused', depth: 'stored' })
    expect(nodeRecord(stack, sandbox.id)?.saved).toBe(saved)
    expect(await orphans(stack)).toEqual([])
    copyFileSync(copy, file)
    rmSync(copy)
    expect(await heldInMemory(stack, sandbox.id)).toBe(held)
  }, 120_000)
})
