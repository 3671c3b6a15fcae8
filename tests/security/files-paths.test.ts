import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { call } from './call.ts'

const canary = `/run/atoll-canary-${process.pid}`
const canaryText = `canary-${process.pid}-51d0`

attackEach('paths', ({ create, stack }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    writeFileSync(canary, canaryText, { mode: 0o666 })
    sandbox = await create()
    await sandbox.run('echo root-only > /root/secret; chmod 600 /root/secret; chmod 700 /root', {
      user: 'root',
    })
  })
  afterAll(() => {
    expect(readFileSync(canary, 'utf8'), 'the canary on the host was changed').toBe(canaryText)
    rmSync(canary)
  })
  const asUser = { user: 'user' } as const
  const raw = (query: string) => call(stack(), `/v1/sandboxes/${sandbox.id}/files?${query}`)

  it.each([
    { what: 'absolute', path: canary },
    { what: 'many ..', path: `${'../'.repeat(30)}${canary.slice(1)}` },
    { what: '/proc/1/root', path: `/proc/1/root${canary}` },
    { what: '/proc/self/root', path: `/proc/self/root${canary}` },
    { what: '/proc/self/cwd with ..', path: `/proc/self/cwd/${'../'.repeat(20)}${canary.slice(1)}` },
  ])('no path leads to a file of the host: $what', async ({ path }) => {
    for (const user of ['user', 'root'])
      await expect(sandbox.files.read(path, { user })).rejects.toMatchObject({
        code: expect.stringMatching(/^(path_not_found|permission_denied)$/),
      })
  })

  it.each([
    {
      what: 'URL-encoded slashes and dots',
      query: `path=%2e%2e%2f%2e%2e%2f${canary.slice(1).replaceAll('/', '%2f')}`,
    },
    { what: 'doubly encoded', query: `path=%252e%252e%252f${canary.slice(1)}` },
    { what: 'the path twice', query: `path=/etc/hostname&path=${canary}` },
    { what: 'overlong UTF-8', query: 'path=%c0%ae%c0%ae%c0%af%c0%ae%c0%ae%c0%afetc/shadow' },
    { what: 'NUL in the middle', query: `path=/etc/hostname%00${canary}` },
    { what: 'NUL at the end', query: 'path=/etc/hostname%00' },
    { what: 'empty', query: 'path=' },
    { what: 'no path', query: '' },
    { what: '5,000 bytes', query: `path=/${'a'.repeat(5_000)}` },
    { what: 'a user with a slash', query: 'path=/etc/hostname&user=../../root' },
    { what: 'a user that is not there', query: 'path=/etc/hostname&user=nobody-such' },
  ])('answers a client error and gives nothing: $what', async ({ query, what }) => {
    const answer = await raw(query)
    expect(answer.text).not.toContain(canaryText)
    if (what === 'the path twice') return expect(answer.status).toBeLessThan(500)
    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.status).toBeLessThan(500)
    expect(answer.code).toBeDefined()
  })

  it.each([
    { what: "another user's file", before: 'true', path: '/root/secret' },
    { what: 'a symlink to it', before: 'ln -sf /root/secret /tmp/hop1', path: '/tmp/hop1' },
    {
      what: 'two hops',
      before: 'ln -sf /root/secret /tmp/hop1; ln -sf /tmp/hop1 /tmp/hop2',
      path: '/tmp/hop2',
    },
    { what: 'a symlinked directory', before: 'ln -sfn /root /tmp/rootdir', path: '/tmp/rootdir/secret' },
    { what: '/etc/shadow', before: 'ln -sf /etc/shadow /tmp/shadow', path: '/tmp/shadow' },
  ])('acts with the rights of its user: $what', async ({ before, path }) => {
    await sandbox.run(before)
    await expect(sandbox.files.read(path, asUser)).rejects.toMatchObject({ code: 'permission_denied' })
    const write = sandbox.files.write(path, 'evil', asUser)
    await write.then(
      // An atomic write replaces the name in the user's own folder; what it pointed to stays as it was.
      (written) => expect(written.path.startsWith('/tmp/')).toBe(true),
      (error: unknown) => expect(error).toMatchObject({ code: 'permission_denied' }),
    )
    const kept = await sandbox.run('cat /root/secret; grep -c evil /etc/shadow', { user: 'root' })
    expect(kept.stdout).toBe('root-only\n0\n')
  })

  it('negative twin: as root the same read succeeds, so it is the user that stops it', async () => {
    expect(await sandbox.files.readText('/root/secret', { user: 'root' })).toBe('root-only\n')
  })

  it('loses no race with a symlink that is swapped during writes', async () => {
    const swap = `
import os, time
os.makedirs("/tmp/race", exist_ok=True)
end = time.time() + 4
while time.time() < end:
    for target in ("/root", "/tmp/race"):
        try: os.symlink(target, "/tmp/s.new"); os.rename("/tmp/s.new", "/tmp/swap")
        except OSError: pass`
    const swapper = sandbox.run(['python3', '-c', swap])
    const ends = await Promise.allSettled(
      Array.from({ length: 60 }, (_, n) => sandbox.files.write(`/tmp/swap/f${n}`, 'evil', asUser)),
    )
    await swapper
    expect(ends.length).toBe(60)
    expect((await sandbox.run('ls -A /root | grep -c "^f" || true', { user: 'root' })).stdout.trim()).toBe(
      '0',
    )
  }, 30_000)

  describe('what is no regular file', () => {
    it.each([
      { what: 'a fifo', before: 'rm -f /tmp/fifo; mkfifo /tmp/fifo', path: '/tmp/fifo' },
      {
        what: 'a socket',
        before: 'python3 -c "import socket; socket.socket(1).bind(\'/tmp/sock\')" || true',
        path: '/tmp/sock',
      },
      { what: 'a device', before: 'true', path: '/dev/zero' },
      { what: 'a directory', before: 'true', path: '/tmp' },
      {
        what: 'a symlink to a fifo',
        before: 'rm -f /tmp/fifo; mkfifo /tmp/fifo; ln -sf /tmp/fifo /tmp/tofifo',
        path: '/tmp/tofifo',
      },
      { what: 'a symlink to itself', before: 'ln -sf /tmp/self /tmp/self', path: '/tmp/self' },
    ])('$what is refused at once and never hangs', async ({ before, path }) => {
      await sandbox.run(before)
      const deadline = { ...asUser, deadlineMs: 8_000 }
      await expect(sandbox.files.read(path, deadline)).rejects.toMatchObject({
        code: expect.stringMatching(/^(not_a_file|invalid_request|path_not_found|permission_denied)$/),
      })
    })
  })

  it('keeps hard links of somebody else from being written through', async () => {
    await sandbox.run('echo keep > /tmp/owned; chmod 644 /tmp/owned', { user: 'root' })
    await sandbox.run('ln /tmp/owned /home/user/hard || cp /tmp/owned /home/user/hard')
    await sandbox.files.write('/home/user/hard', 'evil', asUser).catch(() => undefined)
    expect((await sandbox.run('cat /tmp/owned')).stdout).toBe('keep\n')
  })

  it.each([
    { what: 'a read-only target', path: '/proc/version' },
    { what: 'sysfs', path: '/sys/kernel/notes' },
    { what: "the agent's folder", path: '/.atoll/agent' },
  ])('writes to $what fail with a typed error', async ({ path }) => {
    await expect(sandbox.files.write(path, 'evil', { ...asUser, deadlineMs: 8_000 })).rejects.toMatchObject({
      code: expect.stringMatching(
        /^(permission_denied|path_not_found|not_a_file|invalid_request|unsupported)$/,
      ),
    })
  })

  it('refuses to remove or move the root', async () => {
    for (const path of ['/', '/..', '/proc', '/.atoll'])
      await expect(sandbox.files.remove(path, { user: 'user', recursive: true })).rejects.toMatchObject({
        name: 'AtollError',
      })
    expect((await sandbox.run(['true'])).ok).toBe(true)
  })
})
