import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { type TestStore, contentOf, leftovers, openTestStore, tarOf, whyNot } from '../test-store.ts'
import { importOciArchive, importOciLayout } from './import-oci.ts'
import { type LayoutPlan, sha256, skopeo, writeLayout } from './test-layout.ts'

const signal = AbortSignal.timeout(60_000)
const quiet = () => {}
const skip = whyNot()
if (skip !== undefined) console.warn(`SKIPPED import-oci: ${skip}`)

describe.skipIf(skip !== undefined)('importOci', () => {
  let context: TestStore
  let layout: string
  let plan: LayoutPlan

  beforeEach(async () => {
    context = await openTestStore()
    layout = join(context.folder, 'layout')
    const lower = await tarOf(context.folder, { 'a/one': '1', 'a/two': '2', 'b/old': 'x' })
    const upper = await tarOf(context.folder, { 'a/.wh.one': '', 'b/.wh..wh..opq': '', 'b/new': 'y' })
    plan = {
      layers: [
        { tarPath: lower, compression: 'gzip' },
        { tarPath: upper, compression: 'zstd' },
      ],
      config: {
        Env: ['A=1', 'B=x=y', 'C'],
        User: '1000:1000',
        WorkingDir: '/srv',
        Entrypoint: ['/run'],
        Cmd: ['-v'],
      },
    }
    return () => context[Symbol.asyncDispose]()
  })

  const expected = { '.atoll/agent': 'stands for the agent', 'a/two': '2', 'b/new': 'y', 'tmp/.keep': '' }

  test('puts layers over each other and reads the config', async () => {
    writeLayout(layout, plan)
    const image = await importOciLayout(context.store, layout, undefined, quiet, signal)
    expect(await contentOf(context, image)).toEqual(expected)
    expect(image.config).toEqual({
      env: { A: '1', B: 'x=y', C: '' },
      user: '1000:1000',
      workdir: '/srv',
      start: ['/run', '-v'],
      ready: null,
    })
    expect(await leftovers(context)).toEqual([])
  })

  test('reads an archive that skopeo wrote, and one of another tool with dots before the names', async () => {
    writeLayout(layout, plan)
    const archive = join(context.folder, 'image.tar')
    skopeo('copy', `oci:${layout}:latest`, `oci-archive:${archive}`)
    const image = await importOciArchive(context.store, archive, 'image.tar', undefined, quiet, signal)
    expect(await contentOf(context, image)).toEqual(expected)
    execFileSync('tar', ['-C', layout, '-czf', archive, '.'])
    const again = await importOciArchive(context.store, archive, 'image.tar', 'latest', quiet, signal)
    expect(again).toEqual(image)
    const missing = importOciArchive(context.store, archive, 'image.tar', 'other', quiet, signal)
    await expect(missing).rejects.toMatchObject({ code: 'not_found' })
  })

  test('refuses a layer whose bytes are not those of its digest', async () => {
    const [first = ''] = writeLayout(layout, plan)
    const path = join(layout, 'blobs/sha256', first.slice(7))
    const bytes = readFileSync(path)
    bytes[bytes.length - 9] = (bytes[bytes.length - 9] ?? 0) ^ 1
    writeFileSync(path, bytes)
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toMatchObject({
      code: 'hash_mismatch',
    })
    writeFileSync(path, Buffer.concat([bytes, Buffer.from('more')]))
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toMatchObject({
      code: 'payload_too_large',
    })
    expect(await leftovers(context)).toEqual([])
  })

  test('refuses a layer that unpacks to other bytes than the config says', async () => {
    const [lower] = plan.layers
    if (lower === undefined) throw new Error('no layer')
    writeLayout(layout, { ...plan, layers: [{ ...lower, diffId: sha256(Buffer.from('other')) }] })
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toMatchObject({
      code: 'hash_mismatch',
    })
  })

  test('refuses another architecture and says which there are', async () => {
    writeLayout(layout, { ...plan, architecture: 'arm64' })
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toThrow(
      /no image for linux\/amd64 \(it has linux\/arm64\)/,
    )
  })

  test('refuses what is no image', async () => {
    writeLayout(layout, { ...plan, index: { schemaVersion: 1 } })
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toMatchObject({
      code: 'image_invalid',
    })
    writeFileSync(join(layout, 'index.json'), 'root:x:0:0')
    const error = importOciLayout(context.store, layout, undefined, quiet, signal)
    await expect(error).rejects.toThrow(/no JSON/)
    await expect(error).rejects.not.toThrow(/root:x/)
  })

  test('follows no symlink out of a layout', async () => {
    writeLayout(layout, plan)
    const secret = join(context.folder, 'secret')
    writeFileSync(secret, readFileSync(join(layout, 'index.json')))
    rmSync(join(layout, 'index.json'))
    symlinkSync(secret, join(layout, 'index.json'))
    await expect(importOciLayout(context.store, layout, undefined, quiet, signal)).rejects.toMatchObject({
      code: 'image_invalid',
    })
    const archive = join(context.folder, 'links.tar')
    execFileSync('tar', ['-C', layout, '-cf', archive, '.'])
    await expect(
      importOciArchive(context.store, archive, 'links.tar', undefined, quiet, signal),
    ).rejects.toMatchObject({ code: 'image_invalid', details: { entry: './index.json' } })
  })
})
