import { existsSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { type TarEntry, tarBytes } from './tar-bytes.ts'

interface HostileArchive {
  readonly name: string
  readonly entries: readonly TarEntry[]
  /** Shell lines as root before it, outside of the target. */
  readonly before?: string
  /** A shell test that is true exactly when the attack worked. */
  readonly worked: string
  readonly why: string
}

/** Below /tmp/t/in, as the user: nothing may appear in or be read from /tmp/t/out, /etc or the agent's folder. */
const archives: readonly HostileArchive[] = [
  {
    name: 'a name with ..',
    entries: [{ name: '../out/evil', body: 'evil' }],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'zip slip',
  },
  {
    name: '.. in the middle',
    entries: [{ name: 'a/../../out/evil', body: 'evil' }],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'zip slip',
  },
  {
    name: 'an absolute name',
    entries: [{ name: '/tmp/t/out/evil', body: 'evil' }],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'zip slip',
  },
  {
    name: 'a symlink, then a file through it',
    entries: [
      { name: 'link', type: '2', link: '/tmp/t/out' },
      { name: 'link/evil', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evil ]',
    why: "the archive's own symlink",
  },
  {
    name: 'a relative symlink, then a file through it',
    entries: [
      { name: 'link', type: '2', link: '../out' },
      { name: 'link/evil', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evil ]',
    why: "the archive's own symlink",
  },
  {
    name: 'two hops of symlinks',
    entries: [
      { name: 'a', type: '2', link: 'b' },
      { name: 'b', type: '2', link: '../out' },
      { name: 'a/evil', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'resolution step by step',
  },
  {
    name: 'a symlink that was there before',
    before: 'ln -s /tmp/t/out /tmp/t/in/old',
    entries: [{ name: 'old/evil', body: 'evil' }],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'somebody else placed it',
  },
  {
    name: 'a file over a symlink that was there before',
    before:
      'ln -s /tmp/t/out/victim /tmp/t/in/old; echo good > /tmp/t/out/victim; chmod 666 /tmp/t/out/victim',
    entries: [{ name: 'old', body: 'evil' }],
    worked: 'grep -q evil /tmp/t/out/victim',
    why: 'the last component must not be followed',
  },
  {
    name: 'a hard link to the outside',
    entries: [{ name: 'hard', type: '1', link: '/tmp/t/out/secret' }],
    worked: '[ /tmp/t/in/hard -ef /tmp/t/out/secret ]',
    why: "a second name for somebody's file",
  },
  {
    name: 'a hard link with ..',
    entries: [{ name: 'hard', type: '1', link: '../out/secret' }],
    worked: '[ /tmp/t/in/hard -ef /tmp/t/out/secret ]',
    why: "a second name for somebody's file",
  },
  {
    name: 'a hard link through a symlink',
    entries: [
      { name: 'link', type: '2', link: '/tmp/t/out' },
      { name: 'hard', type: '1', link: 'link/secret' },
    ],
    worked: '[ /tmp/t/in/hard -ef /tmp/t/out/secret ]',
    why: 'both tricks together',
  },
  {
    name: 'the same name twice: a directory, then a symlink, then a file in it',
    entries: [
      { name: 'd', type: '5', mode: 0o755 },
      { name: 'd', type: '2', link: '/tmp/t/out' },
      { name: 'd/evil', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'the cached directory must not be trusted',
  },
  {
    name: 'a character device',
    entries: [{ name: 'dev', type: '3', mode: 0o666 }],
    worked: '[ -c /tmp/t/in/dev ]',
    why: 'no devices',
  },
  {
    name: 'a block device',
    entries: [{ name: 'dev', type: '4', mode: 0o666 }],
    worked: '[ -b /tmp/t/in/dev ]',
    why: 'no devices',
  },
  {
    name: 'a setuid file of root',
    entries: [{ name: 'suid', mode: 0o4755, uid: 0, body: '#!/bin/sh\n' }],
    worked: '[ -u /tmp/t/in/suid ] && [ "$(stat -c %u /tmp/t/in/suid)" = 0 ]',
    why: 'no setuid for foreign ids',
  },
  {
    name: 'a GNU long name with ..',
    entries: [
      { name: '././@LongLink', type: 'L', body: `${'a/'.repeat(120)}${'../'.repeat(121)}out/evil\0` },
      { name: 'short', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evil ]',
    why: 'the long name must be checked too',
  },
  {
    name: 'a pax path with ..',
    entries: [
      { name: 'pax', type: 'x', body: '23 path=../out/evilpax\n' },
      { name: 'short', body: 'evil' },
    ],
    worked: '[ -e /tmp/t/out/evilpax ]',
    why: 'the pax name must be checked too',
  },
  {
    name: 'a pax link target',
    entries: [
      { name: 'pax', type: 'x', body: '30 linkpath=/tmp/t/out/secret\n' },
      { name: 'hard', type: '1', link: 'short' },
    ],
    worked: '[ /tmp/t/in/hard -ef /tmp/t/out/secret ]',
    why: 'the pax link must be checked too',
  },
  {
    name: "the agent's folder",
    entries: [{ name: '../../../.atoll/evil', body: 'evil' }],
    worked: '[ -e /.atoll/evil ]',
    why: 'zip slip',
  },
]

const broken: readonly { name: string; bytes: Uint8Array }[] = [
  { name: 'garbage', bytes: Buffer.alloc(4_096, 0xa5) },
  { name: 'a truncated body', bytes: tarBytes([{ name: 'x', body: 'abc', claimedSize: 1_000_000 }]) },
  { name: 'a broken checksum', bytes: tarBytes([{ name: 'x', body: 'abc', brokenChecksum: true }]) },
  { name: 'half a header', bytes: tarBytes([{ name: 'x', body: 'abc' }]).subarray(0, 300) },
  { name: 'a huge claimed size', bytes: tarBytes([{ name: 'x', claimedSize: 8 ** 11 - 1 }]) },
]

attackEach('archives', ({ create }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create()
  })
  const reset = async (before = 'true'): Promise<void> => {
    const script = `rm -rf /tmp/t; mkdir -p /tmp/t/in /tmp/t/out; echo secret > /tmp/t/out/secret
chown user /tmp/t/in; chmod 777 /tmp/t/out; chmod 644 /tmp/t/out/secret; ${before}`
    expect((await sandbox.run(script, { user: 'root' })).exit.code).toBe(0)
  }

  it.each(archives)('$name', async ({ entries, before, worked }) => {
    await reset(before)
    await sandbox.files.upload('/tmp/t/in', tarBytes(entries), { user: 'user' }).catch(aTypedError)
    const seen = await sandbox.run(`if ${worked}; then echo worked; else echo stopped; fi`, { user: 'root' })
    expect(seen.stdout).toBe('stopped\n')
    expect(existsSync('/tmp/t/out/evil'), 'on the host').toBe(false)
  })

  it.each(broken)('$name is refused with a typed error', async ({ bytes }) => {
    await reset()
    await expect(sandbox.files.upload('/tmp/t/in', bytes, { user: 'user' })).rejects.toMatchObject({
      code: expect.stringMatching(
        /^(invalid_request|image_invalid|stream_broken|payload_too_large|disk_full)$/,
      ),
    })
    expect((await sandbox.run(['true'])).ok).toBe(true)
  })

  it('unpacks an honest archive as the user (so the refusals above are no general failure)', async () => {
    await reset()
    const entries = [
      { name: 'd', type: '5', mode: 0o755 },
      { name: 'd/file', body: 'hello' },
      { name: 'd/link', type: '2', link: 'file' },
    ]
    await sandbox.files.upload('/tmp/t/in', tarBytes(entries), { user: 'user' })
    const seen = await sandbox.run('cat /tmp/t/in/d/link; stat -c " %U" /tmp/t/in/d/file')
    expect(seen.stdout).toBe('hello user\n')
  })

  it('negative twin: a plain unpacker as the same user falls for it', async () => {
    await reset()
    await sandbox.files.write('/tmp/evil.tar', tarBytes([{ name: '../out/evil', body: 'evil' }]), {
      user: 'user',
    })
    await sandbox.run(['tar', '-P', '-C', '/tmp/t/in', '-xf', '/tmp/evil.tar'])
    expect((await sandbox.run('cat /tmp/t/out/evil')).stdout).toBe('evil')
  })

  describe('download', () => {
    it('carries symlinks as symlinks and never what they point to', async () => {
      await reset('ln -s /etc/shadow /tmp/t/in/shadow; ln -s /tmp/t/out /tmp/t/in/dir')
      const stream = await sandbox.files.download('/tmp/t/in', { user: 'user' })
      const text = Buffer.from(await new Response(stream).arrayBuffer()).toString('latin1')
      expect(text).toContain('shadow')
      expect(text).not.toContain('root:')
      expect(text).not.toContain('secret\n')
    })

    it('does not hang on a fifo', async () => {
      await reset('mkfifo /tmp/t/in/fifo; chown user /tmp/t/in/fifo')
      const stream = await sandbox.files.download('/tmp/t/in', { user: 'user', deadlineMs: 15_000 })
      await new Response(stream).arrayBuffer()
    }, 30_000)
  })
})

const aTypedError = (error: unknown): void => expect(error).toMatchObject({ name: 'AtollError' })
