import { createHash, randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import type { Case } from '../conformance.ts'
import type { Booted } from './bench.ts'

const put = async (box: Booted, path: string, body: Uint8Array, headers: Record<string, string> = {}) => {
  const response = await box.guest.request({
    method: 'PUT',
    path: `/v1/files?path=${encodeURIComponent(path)}&mode=0640`,
    headers,
    body,
  })
  const chunks: Uint8Array[] = []
  for await (const chunk of response.body) chunks.push(chunk)
  return { status: response.status, body: JSON.parse(Buffer.concat(chunks).toString()) }
}

const get = async (box: Booted, path: string, headers: Record<string, string> = {}) => {
  const response = await box.guest.request({
    method: 'GET',
    path: `/v1/files?path=${encodeURIComponent(path)}`,
    headers,
  })
  const chunks: Uint8Array[] = []
  for await (const chunk of response.body) chunks.push(chunk)
  return { status: response.status, headers: response.headers, bytes: Buffer.concat(chunks) }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export const fileCases: Readonly<Record<string, Case>> = {
  'writes with a hash as read back, and reads': async (bench) => {
    await using box = await bench.boot()
    const bytes = randomBytes(300_000)
    const written = await put(box, '/home/user/a b.bin', bytes)
    expect(written).toMatchObject({
      status: 200,
      body: { path: '/home/user/a b.bin', size: 300_000, sha256: sha256(bytes), mode: 0o640, uid: 1000 },
    })
    const read = await get(box, '/home/user/a b.bin')
    expect(read.headers).toMatchObject({ 'content-length': '300000', 'x-atoll-size': '300000' })
    expect(sha256(read.bytes)).toBe(sha256(bytes))
  },
  'reads a range, and refuses one behind the end': async (bench) => {
    await using box = await bench.boot()
    await put(box, '/tmp/ten', Buffer.from('0123456789'))
    const part = await get(box, '/tmp/ten', { range: 'bytes=3-5' })
    expect([part.status, part.bytes.toString()]).toEqual([206, '345'])
    expect((await get(box, '/tmp/ten', { range: 'bytes=10-' })).status).toBe(416)
  },
  'changes nothing when the bytes are not those announced': async (bench) => {
    await using box = await bench.boot()
    await put(box, '/tmp/kept', Buffer.from('before'))
    const refused = await put(box, '/tmp/kept', Buffer.from('after'), { 'x-atoll-sha256': '0'.repeat(64) })
    expect(refused).toMatchObject({ status: 422, body: { code: 'hash_mismatch' } })
    expect((await get(box, '/tmp/kept')).bytes.toString()).toBe('before')
  },
  'changes nothing when a write ends early': async (bench) => {
    await using box = await bench.boot()
    await put(box, '/tmp/whole', Buffer.from('before'))
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000, 1)
      throw new Error('the client went away')
    }
    const write = box.guest.request({ method: 'PUT', path: '/v1/files?path=/tmp/whole', body: broken() })
    await expect(write).rejects.toMatchObject({ code: 'canceled' })
    expect((await get(box, '/tmp/whole')).bytes.toString()).toBe('before')
    const { body } = await box.json('GET', '/v1/files/list?path=/tmp')
    expect(body.entries.filter((entry: { name: string }) => entry.name.includes('whole'))).toHaveLength(1)
  },
  'streams a file that is larger than any window': async (bench) => {
    await using box = await bench.boot()
    const bytes = randomBytes(24 * 1024 ** 2)
    expect((await put(box, '/home/user/big', bytes)).body.sha256).toBe(sha256(bytes))
    expect(sha256((await get(box, '/home/user/big')).bytes)).toBe(sha256(bytes))
  },
  'names what is missing, a directory and what exists': async (bench) => {
    await using box = await bench.boot()
    expect((await box.json('GET', '/v1/files?path=/nothing')).body.code).toBe('path_not_found')
    expect((await box.json('GET', '/v1/files?path=/home')).body.code).toBe('not_a_file')
    await put(box, '/home/user/there', Buffer.from('x'))
    await put(box, '/home/user/taken', Buffer.from('y'))
    const move = { from: '/home/user/there', to: '/home/user/taken', overwrite: false }
    expect((await box.json('POST', '/v1/files/move', move)).body.code).toBe('path_exists')
  },
  'makes, lists, moves and removes': async (bench) => {
    await using box = await bench.boot()
    const folder = '/home/user/deep/er'
    const made = await box.json('POST', '/v1/files/make', { path: folder, parents: true, mode: 0o755 })
    expect(made).toMatchObject({ status: 200, body: { type: 'directory', path: folder } })
    await put(box, `${folder}/one`, Buffer.from('1'))
    await box.json('POST', '/v1/files/move', { from: `${folder}/one`, to: `${folder}/two`, overwrite: false })
    const { body } = await box.json('GET', `/v1/files/list?path=/home/user/deep&depth=2`)
    expect(body.entries.map((entry: { path: string }) => entry.path).toSorted()).toEqual([
      folder,
      `${folder}/two`,
    ])
    expect(await box.json('GET', `/v1/files/stat?path=${folder}/two`)).toMatchObject({
      body: { type: 'file', size: 1, user: 'user' },
    })
    const full = await box.json('POST', '/v1/files/remove', { path: folder, recursive: false })
    expect(full.body.code).toBe('directory_not_empty')
    const gone = await box.json('POST', '/v1/files/remove', { path: folder, recursive: true })
    expect(gone.body).toEqual({ removed: 2 })
    expect((await box.json('GET', `/v1/files/stat?path=${folder}`)).body.code).toBe('path_not_found')
  },
  'shows commands the files, and the files of commands': async (bench) => {
    await using box = await bench.boot()
    await put(box, '/home/user/for-command', Buffer.from('from the API'))
    expect((await box.run(['cat', '/home/user/for-command'])).stdout).toBe('from the API')
    await box.run('echo from a command > /home/user/by-command')
    expect((await get(box, '/home/user/by-command')).bytes.toString()).toBe('from a command\n')
  },
}
