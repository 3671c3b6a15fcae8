import { copyFile, open, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Case } from '../conformance.ts'
import type { MachineImage, MachineSpec } from '../driver.ts'
import { type Bench, booted, type Booted, eventually } from './bench.ts'
import { copyOf, saveMemory, soon } from './snapshots.ts'

const say = async (box: Booted, id: string, text: string, close = false): Promise<void> => {
  const path = `/v1/processes/${id}/stdin${close ? '?close=1' : ''}`
  const answer = await box.guest.request({ method: 'POST', path, body: Buffer.from(text) })
  for await (const _ of answer.body) continue
  expect(answer.status).toBe(200)
}

const files = (image: MachineImage) => Object.fromEntries(image.files.map(({ name, path }) => [name, path]))

/** A copy of the image's files, to be spoilt. */
const duplicate = async (bench: Bench, image: MachineImage): Promise<MachineImage> => {
  const folder = await bench.folder()
  const copies = image.files.map(async (file) => {
    const path = join(folder, file.name)
    await copyFile(file.path, path)
    return { ...file, path }
  })
  return { ...image, files: await Promise.all(copies) }
}

/** It is refused with that code, and nothing of it was made. */
const refuses = async (bench: Bench, image: MachineImage, code: string, more: Partial<MachineSpec> = {}) => {
  const spec = { ...(await bench.makeSpec({ limits: { diskBytes: image.diskBytes } })), ...more }
  await expect(bench.driver.restore(image, spec, soon())).rejects.toMatchObject({ code })
  await expect(stat(join(spec.directory, 'shim.json'))).rejects.toMatchObject({ code: 'ENOENT' })
}

export const memoryCases: Readonly<Record<string, Case>> = {
  'saves its memory and runs on': async (bench) => {
    await using box = await bench.boot()
    await box.start('echo', ['cat'], { stdin: 'pipe' })
    const following = box.read('/v1/processes/echo/output?follow=1')
    await say(box, 'echo', 'before ')
    const image = await saveMemory(bench, box)
    expect(image).toMatchObject({
      kind: 'memory',
      runtime: bench.driver.name,
      diskBytes: box.spec.limits.diskBytes,
    })
    for (const { path, bytes } of image.files) expect((await stat(path)).size).toBe(bytes)
    await say(box, 'echo', 'after', true)
    expect(await following).toMatchObject({ stdout: 'before after', exit: { code: 0 } })
    expect(await box.machine.state(soon())).toBe('running')
  },
  'restores files and processes into another machine': async (bench) => {
    await using box = await bench.boot()
    await box.start('echo', ['cat'], { stdin: 'pipe' })
    await say(box, 'echo', 'one ')
    await box.run('echo kept > /home/user/note')
    const image = await saveMemory(bench, box)
    await box.run('echo later > /home/user/note')
    await box.machine.destroy(soon())
    await using copy = await copyOf(bench, image)
    expect((await copy.run('cat /home/user/note')).stdout).toBe('kept\n')
    await say(copy, 'echo', 'two', true)
    expect(await copy.read('/v1/processes/echo/output?follow=1')).toMatchObject({
      stdout: 'one two',
      exit: { code: 0 },
    })
    expect(copy.adopted).toMatchObject({ sandboxId: copy.spec.id })
  },
  'makes machines of one image that know nothing of each other': async (bench) => {
    await using box = await bench.boot()
    await box.run('echo common > /home/user/note')
    const image = await saveMemory(bench, box)
    await using left = await copyOf(bench, image)
    await using right = await copyOf(bench, image)
    await left.run('echo left > /home/user/note')
    await right.run('echo right >> /home/user/note')
    expect((await left.run('cat /home/user/note')).stdout).toBe('left\n')
    expect((await right.run('cat /home/user/note')).stdout).toBe('common\nright\n')
    expect((await box.run('cat /home/user/note')).stdout).toBe('common\n')
  },
  'starts nothing in a copy that has no identity': async (bench) => {
    await using box = await bench.boot()
    await box.start('ticker', ['sleep', '600'])
    const image = await saveMemory(bench, box)
    const spec = await bench.makeSpec()
    await using copy = await booted(await bench.driver.restore(image, spec, soon()), spec, false)
    const early = await copy.json('PUT', '/v1/processes/early', { argv: ['true'] })
    expect(early).toMatchObject({ status: 409, body: { code: 'not_adopted' } })
    expect((await copy.json('POST', '/v1/continue')).body).toMatchObject({ code: 'not_adopted' })
    expect((await copy.json('GET', '/v1/health')).body).toMatchObject({ adopted: false })
  },
  'saves a copy of a copy': async (bench) => {
    await using box = await bench.boot()
    await box.start('echo', ['cat'], { stdin: 'pipe' })
    let image = await saveMemory(bench, box)
    for (const generation of [2, 3, 4]) {
      await using copy = await copyOf(bench, image, { generation })
      await say(copy, 'echo', `${generation} `)
      expect((await copy.run('echo up')).stdout).toBe('up\n')
      image = await saveMemory(bench, copy)
    }
    await using last = await copyOf(bench, image, { generation: 5 })
    await say(last, 'echo', 'end', true)
    expect((await last.read('/v1/processes/echo/output?follow=1')).stdout).toBe('2 3 4 end')
    expect((await last.run('cat /run/atoll/generation')).stdout).toBe('5\n')
  },
  'keeps in memory what nobody wrote down': async (bench) => {
    await using box = await bench.boot()
    const program =
      'import os, sys\nsecret = os.urandom(8).hex()\nprint(secret, flush=True)\nfor line in sys.stdin: print(secret, line.strip(), flush=True)'
    await box.start('keeper', ['python3', '-c', program], { stdin: 'pipe' })
    await say(box, 'keeper', 'original\n')
    const image = await saveMemory(bench, box)
    await box.machine.destroy(soon())
    await using copy = await copyOf(bench, image)
    await say(copy, 'keeper', 'copy\n', true)
    const { stdout } = await copy.read('/v1/processes/keeper/output?follow=1')
    const [secret = '', ...lines] = stdout.trim().split('\n')
    expect(secret).toMatch(/^[0-9a-f]{16}$/)
    expect(lines).toEqual([`${secret} original`, `${secret} copy`])
  },
  'goes on with pipes, terminals and connections that were open': async (bench) => {
    await using box = await bench.boot()
    await box.start('open', ['python3', '-u', '-c', openThings], { stdin: 'pipe' })
    await say(box, 'open', 'one\n')
    const image = await saveMemory(bench, box)
    await using copy = await copyOf(bench, image)
    for (const each of [box, copy]) {
      await say(each, 'open', 'two\n', true)
      const { stdout, stderr, exit } = await each.read('/v1/processes/open/output?follow=1')
      expect({ stdout, stderr, code: exit?.code }).toEqual({
        stdout: ['one', 'two'].map((word) => `${word} ${word} ${word}\n`).join(''),
        stderr: '',
        code: 0,
      })
    }
  },
  'tells a program nothing of descriptors that it gave up': async (bench) => {
    await using box = await bench.boot()
    await box.start('poll', ['python3', '-u', '-c', pollThings], { stdin: 'pipe' })
    await say(box, 'poll', 'begin\n')
    await eventually('it has begun', async () => {
      const { stdout } = await box.read('/v1/processes/poll/output')
      return stdout.includes('begun')
    })
    const image = await saveMemory(bench, box)
    await using copy = await copyOf(bench, image)
    await say(copy, 'poll', 'end\n', true)
    const { stdout, stderr } = await copy.read('/v1/processes/poll/output?follow=1')
    expect({ stdout, stderr }).toEqual({ stdout: 'begun 5\nunknown []\n', stderr: '' })
  },
  'takes other limits in a copy': async (bench) => {
    await using box = await bench.boot()
    const image = await saveMemory(bench, box)
    const limits = { cpuMillis: 2_000, memoryBytes: 384 * 1024 ** 2, processes: 40, openFiles: 700 }
    await using copy = await copyOf(bench, image, { limits })
    const inForce = await copy.machine.resize({}, soon())
    expect(inForce).toMatchObject(limits)
    expect((await copy.run('ulimit -n')).stdout).toBe('700\n')
  },
  'restores into a blank, frozen or not': async (bench) => {
    await using box = await bench.boot()
    const image = await saveMemory(bench, box)
    for (const frozen of [false, true]) {
      const spec = { ...(await bench.makeSpec()), weight: 'background' as const }
      const blank = await bench.driver.blank(spec, soon())
      if (frozen) await blank.freeze(soon())
      const machine = await blank.restore(image, soon())
      await machine.resize({ weight: 'normal' }, soon())
      await using copy = await booted(machine, spec, 2)
      await copy.json('POST', '/v1/continue')
      expect((await copy.run('echo up')).stdout).toBe('up\n')
    }
  },
  'leaves nothing of a blank': async (bench) => {
    const spec = await bench.makeSpec()
    const blank = await bench.driver.blank(spec, soon())
    const { processes } = await blank.destroy(soon())
    expect(processes).toBeGreaterThanOrEqual(1)
    expect(await blank.exited).toMatchObject({ cause: 'killed' })
    expect(await bench.makeDriver().recover(blank.record, soon())).toBeUndefined()
  },
  'refuses to save what is frozen, or over other files': async (bench) => {
    await using box = await bench.boot()
    const folder = await bench.folder()
    await box.machine.freeze(soon())
    await expect(box.machine.checkpoint(folder, 'memory', soon())).rejects.toMatchObject({
      code: 'state_conflict',
    })
    await box.machine.thaw(soon())
    await writeFile(join(folder, 'mine'), 'mine')
    await expect(box.machine.checkpoint(folder, 'memory', soon())).rejects.toMatchObject({ code: 'conflict' })
  },
  'refuses an image that does not fit, before anything is made': async (bench) => {
    await using box = await bench.boot()
    const image = await saveMemory(bench, box)
    await refuses(bench, { ...image, version: 'another 1' }, 'snapshot_unfit')
    await refuses(bench, { ...image, runtime: 'microvm' }, 'snapshot_unfit')
    await refuses(bench, { ...image, kind: 'disk' }, 'snapshot_unfit')
    const limits = { ...box.spec.limits, diskBytes: image.diskBytes * 2 }
    await refuses(bench, image, 'snapshot_unfit', { limits })
  },
  'refuses files that are cut, missing or empty': async (bench) => {
    await using box = await bench.boot()
    const image = await saveMemory(bench, box)
    for (const { name, bytes } of image.files) {
      const cut = await duplicate(bench, image)
      const path = files(cut)[name] ?? ''
      {
        await using file = await open(path, 'r+')
        await file.truncate(bytes - 1)
      }
      await refuses(bench, cut, 'snapshot_invalid')
      // Also when the manifest has the wrong size, too.
      const lies = cut.files.map((file) => (file.name === name ? { ...file, bytes: bytes - 1 } : file))
      await refuses(bench, { ...cut, files: lies }, 'snapshot_invalid')
      await rm(path)
      await refuses(bench, cut, 'snapshot_invalid')
    }
    await using copy = await copyOf(bench, image)
    expect((await copy.run('echo whole')).stdout).toBe('whole\n')
  },
}

/** A pipe to a child, a terminal and a connection over loopback: each line of stdin goes through all three. */
const openThings = `
import os, pty, socket, sys, threading
def cat(read, write):
    while True:
        data = os.read(read, 4096)
        if not data: return
        os.write(write, data)
to_child, from_parent = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(to_child[1])
    cat(to_child[0], from_parent[1]); os._exit(0)
master, slave = pty.openpty()
import tty; tty.setraw(slave)
threading.Thread(target=cat, args=(slave, slave), daemon=True).start()
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
threading.Thread(target=cat, args=(peer.fileno(), peer.fileno()), daemon=True).start()
def through(word, write, read):
    os.write(write, word)
    got = b''
    while len(got) < len(word): got += os.read(read, 4096)
    return got.decode()
for line in sys.stdin:
    word = line.strip().encode()
    print(through(word, to_child[1], from_parent[0]), through(word, master, master), through(word, client.fileno(), client.fileno()))
`

/** Five descriptors are ready in one look; four of them are given up and closed. */
const pollThings = `
import os, select, sys
epoll = select.epoll()
sys.stdin.readline()
pairs = [os.pipe() for _ in range(5)]
for read, write in pairs:
    epoll.register(read, select.EPOLLIN | select.EPOLLET)
    os.write(write, b'x')
print('begun', len(epoll.poll(1)))
for read, write in pairs[1:]:
    epoll.unregister(read)
    os.close(read); os.close(write)
sys.stdin.readline()
print('unknown', [fd for fd, _ in epoll.poll(0.2) if fd != pairs[0][0]])
`
