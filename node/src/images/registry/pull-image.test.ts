import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { beforeEach, describe, expect, test } from 'vitest'
import { skopeo, writeLayout } from '../oci/test-layout.ts'
import { type TestStore, contentOf, leftovers, openTestStore, tarOf, whyNot } from '../test-store.ts'
import { pullImage } from './pull-image.ts'
import { login, startRegistry, startTokenFront, whyNoRegistry } from './test-registry.ts'

const signal = AbortSignal.timeout(60_000)
const quiet = () => {}
const skip = whyNot() ?? whyNoRegistry()
if (skip !== undefined) console.warn(`SKIPPED pull-image: ${skip}`)

describe.skipIf(skip !== undefined)('pullImage', () => {
  let context: TestStore
  let layout: string

  beforeEach(async () => {
    context = await openTestStore()
    layout = join(context.folder, 'layout')
    const lower = await tarOf(context.folder, { one: '1', two: '2' })
    const upper = await tarOf(context.folder, { '.wh.one': '', three: '3' })
    writeLayout(layout, {
      layers: [
        { tarPath: lower, compression: 'gzip' },
        { tarPath: upper, compression: 'gzip' },
      ],
      config: { Env: ['X=1'], Cmd: ['/bin/sh'] },
    })
    return () => context[Symbol.asyncDispose]()
  })

  const expected = { '.atoll/agent': 'stands for the agent', 'tmp/.keep': '', three: '3', two: '2' }
  const push = (host: string, ...flags: string[]) =>
    skopeo(
      'copy',
      '--dest-tls-verify=false',
      ...flags,
      `oci:${layout}:latest`,
      `docker://${host}/team/image:v1`,
    )

  test('pulls by tag and by digest, in both manifest formats, and skopeo agrees', async () => {
    await using registry = await startRegistry(context.folder)
    for (const format of ['oci', 'v2s2']) {
      push(registry.host, '--format', format)
      const image = await pullImage(context.store, `${registry.host}/team/image:v1`, {}, quiet, signal)
      expect(await contentOf(context, image)).toEqual(expected)
      expect(image.config).toMatchObject({ env: { X: '1' }, user: 'root', workdir: '/', start: ['/bin/sh'] })
      const seen = JSON.parse(
        skopeo('inspect', '--tls-verify=false', `docker://${registry.host}/team/image:v1`),
      ) as { Digest: string; Layers: string[] }
      const copy = join(context.folder, `copy-${format}`)
      skopeo('copy', '--src-tls-verify=false', `docker://${registry.host}/team/image:v1`, `dir:${copy}`)
      for (const layer of seen.Layers) {
        const name = layer.slice('sha256:'.length)
        const cached = readFileSync(join(context.store.cacheDirectory, 'blobs', name))
        expect(cached.equals(readFileSync(join(copy, name)))).toBe(true)
      }
      const pinned = `${registry.host}/team/image@${seen.Digest}`
      expect((await pullImage(context.store, pinned, {}, quiet, signal)).digest).toBe(image.digest)
    }
    expect(await leftovers(context)).toEqual([])
  })

  test('says what is missing', async () => {
    await using registry = await startRegistry(context.folder)
    const missing = pullImage(context.store, `${registry.host}/team/none:v1`, {}, quiet, signal)
    await expect(missing).rejects.toMatchObject({ code: 'not_found', retryable: false })
    await expect(pullImage(context.store, 'debian:12', {}, quiet, signal)).rejects.toThrow(/registry-host/)
  })

  test('logs in with Basic, and tells no password', async () => {
    await using registry = await startRegistry(context.folder, { login: true })
    push(registry.host, '--dest-creds', `${login.username}:${login.password}`)
    const reference = `${registry.host}/team/image:v1`
    const image = await pullImage(context.store, reference, { credentials: login }, quiet, signal)
    expect(await contentOf(context, image)).toEqual(expected)
    const anonymous = pullImage(context.store, reference, {}, quiet, signal)
    await expect(anonymous).rejects.toMatchObject({ code: 'forbidden' })
    const wrong = { username: 'diver', password: 'wrong-secret' }
    const error = await pullImage(context.store, reference, { credentials: wrong }, quiet, signal).catch(
      (e: unknown) => e,
    )
    expect(error).toMatchObject({ code: 'forbidden' })
    expect(inspect(error, { depth: 10 })).not.toMatch(/wrong-secret|d3Jvbmctc2VjcmV0/)
    expect(inspect(image, { depth: 10 })).not.toMatch(/opensesame/)
  })

  test('gets a Bearer token, and shows it to nobody else', async () => {
    await using registry = await startRegistry(context.folder)
    push(registry.host)
    await using front = await startTokenFront(registry)
    const reference = `${front.host}/team/image:v1`
    const seen: (string | null)[] = []
    const spy: typeof fetch = (url, init) => {
      if (new Request(url).url.includes(registry.host))
        seen.push(new Headers(init?.headers).get('authorization'))
      return fetch(url, init)
    }
    const options = { credentials: login, fetch: spy }
    const image = await pullImage(context.store, reference, options, quiet, signal)
    expect(await contentOf(context, image)).toEqual(expected)
    expect(seen.length).toBeGreaterThan(0)
    expect(seen.every((value) => value === null)).toBe(true)
    expect(front.requests.filter((request) => request.url?.startsWith('/token')).length).toBe(1)
    const wrong = { credentials: { username: 'diver', password: 'wrong-secret' } }
    await expect(pullImage(context.store, reference, wrong, quiet, signal)).rejects.toMatchObject({
      code: 'forbidden',
    })
  })

  test('refuses a layer that the registry changed', async () => {
    await using registry = await startRegistry(context.folder)
    push(registry.host)
    const tamper: typeof fetch = async (url, init) => {
      const response = await fetch(url, init)
      if (!new Request(url).url.includes('/blobs/')) return response
      const bytes = Buffer.from(await response.arrayBuffer())
      bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
      return new Response(bytes, { status: 200 })
    }
    const pull = pullImage(context.store, `${registry.host}/team/image:v1`, { fetch: tamper }, quiet, signal)
    await expect(pull).rejects.toMatchObject({ code: 'hash_mismatch' })
    expect(await leftovers(context)).toEqual([])
  })

  test('speaks plain HTTP to this machine alone, and never to link-local addresses', async () => {
    const urls: string[] = []
    const spy: typeof fetch = async (url) => {
      urls.push(new Request(url).url)
      return new Response(null, { status: 302, headers: { location: 'http://169.254.169.254/latest' } })
    }
    const pull = (reference: string, plainHttp: boolean) =>
      pullImage(context.store, reference, { fetch: spy, plainHttp }, quiet, signal)
    await expect(pull('registry.test/x:1', false)).rejects.toMatchObject({ code: 'invalid_request' })
    await expect(pull('registry.test/x:1', true)).rejects.toMatchObject({ code: 'forbidden' })
    expect(urls).toEqual(['https://registry.test/v2/x/manifests/1', 'http://registry.test/v2/x/manifests/1'])
  })

  test('keeps the blob cache within its limit', async () => {
    await using registry = await startRegistry(context.folder)
    push(registry.host)
    await using small = await openTestStore({ blobCacheBytes: 1 })
    writeFileSync(join(small.store.cacheDirectory, 'blobs', '0'.repeat(64)), 'an old blob')
    const image = await pullImage(small.store, `${registry.host}/team/image:v1`, {}, quiet, signal)
    expect(await contentOf(small, image)).toEqual(expected)
    expect(() => readFileSync(join(small.store.cacheDirectory, 'blobs', '0'.repeat(64)))).toThrow('ENOENT')
  })
})
