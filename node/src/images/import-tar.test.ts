import { execFileSync } from 'node:child_process'
import { chmodSync, statSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { deleteImage } from './delete-image.ts'
import { openImageStore } from './image-store.ts'
import { importTar } from './import-tar.ts'
import { listImages } from './list-images.ts'
import { openImage } from './open-image.ts'
import type { ImageProgress } from './progress.ts'
import { contentOf, leftovers, openTestStore, tarOf, whyNot } from './test-store.ts'

const signal = AbortSignal.timeout(60_000)
const quiet = () => {}
const skip = whyNot()
if (skip !== undefined) console.warn(`SKIPPED import-tar: ${skip}`)

describe.skipIf(skip !== undefined)('importTar', () => {
  test('makes an image with the agent and its places, verified on use', async () => {
    await using context = await openTestStore()
    const archive = await tarOf(context.folder, { 'etc/hostname': 'box\n', 'tmp/': '' })
    const seen: ImageProgress[] = []
    const record = await importTar(context.store, archive, 'a tar', (progress) => seen.push(progress), signal)
    const { path } = await openImage(context.store, record.digest, signal)
    expect(statSync(path).mode & 0o7777).toBe(0o444)
    expect(statSync(path).size).toBe(record.rootfs.sizeBytes)
    expect(await contentOf(context, record)).toEqual({
      '.atoll/agent': 'stands for the agent',
      'etc/hostname': 'box\n',
      'tmp/.keep': '',
    })
    expect(seen.map((progress) => progress.stage)).toEqual(['unpack', 'unpack', 'pack', 'done'])
    expect(await listImages(context.store)).toEqual([record])
    expect(await leftovers(context)).toEqual([])
  })

  test('makes an image of a tar with nothing in it', async () => {
    await using context = await openTestStore()
    const archive = await tarOf(context.folder, {})
    const record = await importTar(context.store, archive, 'scratch', quiet, signal)
    expect(Object.keys(await contentOf(context, record))).toEqual(['.atoll/agent', 'tmp/.keep'])
  })

  test('gives the same content the same digest and the same bytes, and another agent another', async () => {
    await using context = await openTestStore()
    const archive = await tarOf(context.folder, { a: '1' })
    execFileSync('gzip', ['-k', archive])
    const one = await importTar(context.store, archive, 'plain', quiet, signal)
    expect((await importTar(context.store, `${archive}.gz`, 'gzip', quiet, signal)).digest).toBe(one.digest)
    const again = await openImageStore({
      dataDirectory: join(context.folder, 'second'),
      unpackerPath: context.store.unpackerPath,
      agentPath: context.store.agentPath,
    })
    const second = await importTar(again, archive, 'plain', quiet, signal)
    expect(second.digest).toBe(one.digest)
    writeFileSync(context.store.agentPath, 'another agent')
    expect((await importTar(context.store, archive, 'plain', quiet, signal)).digest).not.toBe(one.digest)
  })

  test('refuses an image whose bytes changed', async () => {
    await using context = await openTestStore()
    const record = await importTar(context.store, await tarOf(context.folder, { a: '1' }), 'x', quiet, signal)
    const { path } = await openImage(context.store, record.digest, signal)
    chmodSync(path, 0o644)
    execFileSync('dd', [
      'if=/dev/zero',
      `of=${path}`,
      'bs=1',
      'seek=1100',
      'count=1',
      'conv=notrunc',
      'status=none',
    ])
    execFileSync('sh', ['-c', `printf x | dd of=${path} bs=1 seek=2000 conv=notrunc status=none`])
    await expect(openImage(context.store, record.digest, signal)).rejects.toMatchObject({
      code: 'hash_mismatch',
    })
    await expect(openImage(context.store, '0'.repeat(64), signal)).rejects.toMatchObject({
      code: 'not_found',
    })
    await expect(openImage(context.store, '../x', signal)).rejects.toMatchObject({ code: 'invalid_request' })
  })

  test('deletes an image unless something needs it', async () => {
    await using context = await openTestStore()
    const { digest, rootfs } = await importTar(
      context.store,
      await tarOf(context.folder, {}),
      'x',
      quiet,
      signal,
    )
    await expect(deleteImage(context.store, digest, new Set([digest]))).rejects.toMatchObject({
      code: 'in_use',
    })
    expect(await deleteImage(context.store, digest, new Set())).toEqual({ freedBytes: rootfs.sizeBytes })
    expect(await listImages(context.store)).toEqual([])
    await expect(deleteImage(context.store, digest, new Set())).rejects.toMatchObject({ code: 'not_found' })
  })

  test('names the hostile entry and leaves nothing', async () => {
    await using context = await openTestStore()
    const archive = await tarOf(context.folder, { a: 'x' }, ['--transform=s,^./a,../../a,', '-P'])
    await expect(importTar(context.store, archive, 'hostile', quiet, signal)).rejects.toMatchObject({
      code: 'image_invalid',
      details: { entry: '../../a' },
    })
    expect(await leftovers(context)).toEqual([])
    expect(await listImages(context.store)).toEqual([])
  })

  test('stops when asked and leaves nothing', async () => {
    await using context = await openTestStore()
    const archive = await tarOf(context.folder, { a: 'x' })
    const stop = new AbortController()
    const stopped = importTar(context.store, archive, 'x', () => stop.abort(new Error('enough')), stop.signal)
    await expect(stopped).rejects.toThrow('enough')
    expect(await leftovers(context)).toEqual([])
  })

  test('sweeps what a dead process left, and not what a living one makes', async () => {
    await using context = await openTestStore()
    await mkdir(join(context.store.stagingDirectory, `${process.pid}-1-dead/tree`), { recursive: true })
    await mkdir(join(context.store.stagingDirectory, '4194303-5-dead'))
    const archive = await tarOf(context.folder, { a: 'x' })
    const making = importTar(context.store, archive, 'x', quiet, signal)
    const options = { ...context.store, dataDirectory: join(context.folder, 'data') }
    await openImageStore(options)
    await making
    expect(await leftovers(context)).toEqual([])
  })
})
