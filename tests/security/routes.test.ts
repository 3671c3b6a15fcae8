import { request } from 'node:http'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { call } from './call.ts'

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'] as const
/** Ways to the guest's control routes. The agent has these routes: agent-socket.test.ts asks /v1/health directly. */
const ways = (id: string): readonly string[] => [
  '/v1/adopt',
  `/v1/sandboxes/${id}/adopt`,
  `/v1/sandboxes/${id}/guest/v1/adopt`,
  `/v1/sandboxes/${id}/v1/adopt`,
  `/v1/sandboxes/${id}/files/../adopt`,
  `/v1/sandboxes/${id}/files/%2e%2e/adopt`,
  `/v1/sandboxes/${id}/processes/..%2fadopt`,
  `/v1/sandboxes/${id}/processes/..%2f..%2fv1%2fadopt`,
  `/v1/sandboxes/${id}/processes/x%3F/../../adopt`,
  `/v1/sandboxes/${id}//adopt`,
  `/v1/sandboxes/${id}/ports/1/../../adopt`,
  `/v1/sandboxes/${id}/health`,
]
const identity = {
  sandboxId: 'sbx_aaaaaaaaaaaaaaaaaaaa',
  hostname: 'evil',
  timeUnixMs: 0,
  entropy: '',
  env: { EVIL: '1' },
  limits: { memoryBytes: 1, processes: 1, diskBytes: 1, openFiles: 1, cpuCount: 1 },
  defaultUser: 'root',
  workdir: '/',
}

attackEach('public routes', ({ create, stack }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create()
  })

  it.each(methods)(
    '%s never reaches adopt or health of the guest',
    async (method) => {
      const before = (await sandbox.run('hostname; id -un; pwd')).stdout
      for (const path of ways(sandbox.id)) {
        const body = method === 'GET' || method === 'TRACE' ? {} : { body: JSON.stringify(identity) }
        const answer = await call(stack(), path, { method, ...body })
        expect(answer.status, `${method} ${path}: ${answer.text}`).toBeGreaterThanOrEqual(400)
        expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(500)
        expect(answer.text).not.toContain('"generation"')
      }
      expect((await sandbox.run('hostname; id -un; pwd')).stdout).toBe(before)
    },
    30_000,
  )

  describe('process ids', () => {
    it.each(['..', '.', '../adopt', 'a/b', 'a%2fb', 'a b', 'ä', 'x'.repeat(65), ''])(
      'refuses %j',
      async (id) => {
        const path = `/v1/sandboxes/${sandbox.id}/processes`
        const answer = await call(stack(), path, {
          method: 'POST',
          body: JSON.stringify({ id, argv: ['true'] }),
        })
        expect(answer.code).toBe('invalid_request')
      },
    )
  })

  it.each([
    { what: 'no JSON', body: '{' },
    { what: 'no argv', body: '{}' },
    { what: 'argv and shell', body: '{"argv":["true"],"shell":"true"}' },
    { what: 'NUL in argv', body: '{"argv":["tr\\u0000ue"]}' },
    { what: 'NUL in an env value', body: '{"argv":["true"],"env":{"A":"b\\u0000c"}}' },
    { what: '= in an env name', body: '{"argv":["true"],"env":{"A=B":"c"}}' },
    { what: 'NUL in an env name', body: '{"argv":["true"],"env":{"A\\u0000":"c"}}' },
    { what: '__proto__', body: '{"__proto__":{"argv":["true"]}}' },
    { what: '5,000 arguments', body: JSON.stringify({ argv: Array.from({ length: 5_000 }, () => 'x') }) },
    { what: 'a 2 MiB body', body: JSON.stringify({ argv: ['echo', 'x'.repeat(2 * 1024 * 1024)] }) },
    { what: 'deep nesting', body: `{"argv":${'['.repeat(20_000)}${']'.repeat(20_000)}}` },
  ])('refuses a process with $what', async ({ body }) => {
    const answer = await call(stack(), `/v1/sandboxes/${sandbox.id}/processes?wait=1`, {
      method: 'POST',
      body,
    })
    expect(['invalid_request', 'payload_too_large']).toContain(answer.code)
  })

  it('a client that goes away in the middle of a write changes nothing', async () => {
    await sandbox.files.write('/home/user/kept', 'before')
    const names = async (): Promise<string> => (await sandbox.run('ls -A /home/user')).stdout
    const before = await names()
    for (const announced of [true, false]) await writeHalf(stack(), sandbox.id, announced)
    await expectSoon(names, before)
    expect(await sandbox.files.readText('/home/user/kept')).toBe('before')
  }, 30_000)

  it('refuses bytes that are not those that were announced', async () => {
    await sandbox.files.write('/home/user/kept', 'before')
    const path = `/v1/sandboxes/${sandbox.id}/files?path=/home/user/kept`
    const headers = { 'x-atoll-sha256': 'a'.repeat(64), 'content-type': 'application/octet-stream' }
    const answer = await call(stack(), path, { method: 'PUT', body: 'after', headers })
    expect(answer.code).toBe('hash_mismatch')
    expect(await sandbox.files.readText('/home/user/kept')).toBe('before')
  })
})

/** Sends a part of a file's body and cuts the connection. */
const writeHalf = (
  { port, apiKey }: { port: number; apiKey: string },
  id: string,
  announced: boolean,
): Promise<void> =>
  new Promise((resolve) => {
    const sent = request({
      host: '127.0.0.1',
      port,
      method: 'PUT',
      path: `/v1/sandboxes/${id}/files?path=/home/user/kept`,
      headers: { authorization: `Bearer ${apiKey}`, ...(announced ? { 'content-length': '5000000' } : {}) },
    })
    sent.on('error', () => resolve())
    sent.on('close', () => resolve())
    sent.write(Buffer.alloc(1_000_000), () => setTimeout(() => sent.destroy(), 100))
  })

const expectSoon = async (probe: () => Promise<string>, wanted: string): Promise<void> => {
  const deadline = Date.now() + 5_000
  let seen = await probe()
  while (seen !== wanted && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    seen = await probe()
  }
  expect(seen).toBe(wanted)
}
