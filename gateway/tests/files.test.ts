import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it } from 'vitest'
import { startStack } from './start-stack.ts'

it('writes with a receipt, reads back, by range too, and manages entries', async () => {
  await using stack = await startStack()
  const bytes = randomBytes(3 * 1024 * 1024 + 7)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const put = await stack.raw('PUT', `${stack.home}/files?path=/tmp/a/b&parents=1&mode=0640`, bytes, {
    'x-atoll-sha256': sha256,
  })
  expect(await put.json()).toMatchObject({ path: '/tmp/a/b', size: bytes.length, sha256, mode: 0o640 })
  const got = await stack.raw('GET', `${stack.home}/files?path=/tmp/a/b`)
  expect(got.headers.get('content-length')).toBe(String(bytes.length))
  expect(got.headers.get('x-atoll-mode')).toBe('0640')
  expect(Buffer.from(await got.arrayBuffer()).equals(bytes)).toBe(true)
  const range = await stack.raw('GET', `${stack.home}/files?path=/tmp/a/b`, null, { range: 'bytes=5-9' })
  expect([range.status, Buffer.from(await range.arrayBuffer())]).toEqual([206, bytes.subarray(5, 10)])
  const beyond = await stack.raw('GET', `${stack.home}/files?path=/tmp/a/b`, null, {
    range: 'bytes=99999999-',
  })
  expect(beyond.status).toBe(416)
  expect((await stack.call('GET', '/files/stat?path=/tmp/a/b')).body).toMatchObject({ type: 'file' })
  const moved = await stack.call('POST', '/files/move', { from: '/tmp/a/b', to: '/tmp/a/c' })
  expect(moved.body.path).toBe('/tmp/a/c')
  expect((await stack.call('POST', '/files/make', { path: '/tmp/a/d' })).body.type).toBe('directory')
  const list = await stack.call('GET', '/files/list?path=/tmp/a')
  expect(list.body.entries.map((entry: { name: string }) => entry.name).toSorted()).toEqual(['c', 'd'])
  const removed = await stack.call('POST', '/files/remove', { path: '/tmp/a', recursive: true })
  expect(removed.body.removed).toBeGreaterThan(0)
})

it('refuses bytes that are not the announced ones, and changes nothing', async () => {
  await using stack = await startStack()
  const wrong = await stack.raw('PUT', `${stack.home}/files?path=/tmp/x`, 'abc', {
    'x-atoll-sha256': '0'.repeat(64),
  })
  expect([wrong.status, JSON.parse(await wrong.text()).code]).toEqual([422, 'hash_mismatch'])
  expect((await stack.call('GET', '/files/stat?path=/tmp/x')).body.code).toBe('path_not_found')
})

it('takes a body without a length', async () => {
  await using stack = await startStack()
  const body = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 10; i++) controller.enqueue(Buffer.alloc(100_000, i))
      controller.close()
    },
  })
  const put = await stack.raw('PUT', `${stack.home}/files?path=/tmp/s`, body)
  expect(await put.json()).toMatchObject({ size: 1_000_000 })
})

it('discards what a client left in the middle of', async () => {
  const faults: unknown[] = []
  await using stack = await startStack({
    wrap: (node) => ({
      ...node,
      async guest(id, request) {
        try {
          return await node.guest(id, request)
        } catch (error) {
          if (request.method === 'PUT') faults.push(error)
          throw error
        }
      },
    }),
  })
  for (const framing of ['content-length: 1000000', 'transfer-encoding: chunked']) {
    const socket = connect(stack.port, '127.0.0.1')
    const head = `PUT ${stack.home}/files?path=/tmp/half HTTP/1.1\r\nhost: x\r\nauthorization: ${stack.authorization}`
    socket.write(`${head}\r\n${framing}\r\n\r\n`)
    socket.write(framing.startsWith('c') ? Buffer.alloc(500_000) : `7a120\r\n${'x'.repeat(500_000)}\r\n`)
    await once(socket, 'drain').catch(() => {})
    const before = faults.length
    socket.destroy()
    await expect.poll(() => faults.length, { timeout: 10_000 }).toBe(before + 1)
    expect((await stack.call('GET', '/files/stat?path=/tmp/half')).body.code).toBe('path_not_found')
  }
})

it('tells a client that still uploads why it is refused', async () => {
  await using stack = await startStack()
  const put = await stack.raw(
    'PUT',
    `${stack.home}/files?path=/no/such/folder/x`,
    randomBytes(8 * 1024 * 1024),
  )
  expect([put.status, JSON.parse(await put.text()).code]).toEqual([404, 'path_not_found'])
})
