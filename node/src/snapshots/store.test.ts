import { execFileSync } from 'node:child_process'
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { SnapshotRecord } from '../records/snapshots.ts'
import { digestOf, type Manifest } from './manifest.ts'
import { openSnapshot } from './open.ts'
import { forgetSnapshot, sweepSnapshots } from './remove.ts'
import { saveSnapshot } from './save.ts'
import { imageDigest, testHost, testStore, writeImage } from './test-store.ts'

const never = new AbortController().signal
const contents = { 'checkpoint.img': 'state', 'pages.img': 'p'.repeat(3_000_000), 'pages_meta.img': 'meta' }
const what = 'a test'
type Test = Awaited<ReturnType<typeof testStore>>

const save = (test: Test, files: Readonly<Record<string, string>> = contents, durable = true) =>
  saveSnapshot(test, { imageDigest, what }, writeImage(files), { durable }, never)
const open = (test: Test, digest: string) => openSnapshot(test.snapshots, digest, testHost, never)
const at = (test: Test, ...names: string[]) => join(test.folder, 'snapshots', ...names)

const row = (id: string, digest: string): SnapshotRecord => ({
  id,
  owner: 'user',
  digest,
  kind: 'memory',
  sandbox: null,
  imageDigest,
  sizeBytes: 10,
  detail: {
    isolation: { runtime: 'simulated', version: '1', strength: 'none', description: '', notes: [] },
    limits: { cpuMillis: 1, memoryMib: 1, diskMib: 1, processes: 1, openFiles: 1 },
    pausedMs: 0,
    generation: 1,
  },
  createdAtMs: 1,
})

describe('saving', () => {
  it('gives back what was written, with rights for its owner alone', async () => {
    await using test = await testStore()
    const { digest, sizeBytes, image } = await save(test)
    expect(digest).toMatch(/^[a-f0-9]{64}$/)
    expect(image.files.map(({ path }) => path)).toEqual(
      Object.keys(contents).map((name) => at(test, digest, name)),
    )
    await using opened = await open(test, digest)
    expect(opened.image).toEqual(image)
    expect(sizeBytes).toBeGreaterThan(3_000_000)
    for (const { path, bytes } of opened.image.files)
      expect(await stat(path)).toMatchObject({ size: bytes, mode: 0o100600 })
    expect((await stat(at(test, digest))).mode & 0o777).toBe(0o700)
    expect(await readdir(at(test))).toEqual([digest])
  })

  it('never gives two snapshots one folder', async () => {
    await using test = await testStore()
    const [one, other] = [await save(test), await save(test)]
    expect(one.digest).not.toBe(other.digest)
  })

  it('leaves nothing when the writer fails, is cut short or lies about a size', async () => {
    await using test = await testStore()
    const saving = (write: Parameters<typeof saveSnapshot>[2], signal = never) =>
      saveSnapshot(test, { imageDigest, what }, write, { durable: true }, signal)
    const broken = async (folder: string) => {
      await writeImage(contents)(folder)
      throw new Error('boom')
    }
    await expect(saving(broken)).rejects.toThrow('boom')
    const short = async (folder: string) => {
      const image = await writeImage(contents)(folder)
      await truncate(join(folder, 'pages.img'), 100)
      return image
    }
    await expect(saving(short)).rejects.toThrow(/has 100 bytes, the runtime wrote 3000000/)
    const outside = writeImage({ x: 'y' })
    await expect(
      saving(async (folder) => {
        const image = await outside(folder)
        return { ...image, files: [{ name: '../x', path: join(folder, 'x'), bytes: 1 }] }
      }),
    ).rejects.toThrow()
    await expect(saving(writeImage(contents), AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
    expect(await readdir(at(test))).toEqual([])
  })

  it('says that the disk is full, and leaves nothing on it', async () => {
    await using test = await testStore()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', at(test)])
    try {
      await expect(save(test)).rejects.toMatchObject({ code: 'host_disk_full', retryable: true })
      expect(await readdir(at(test))).toEqual([])
      await save(test, { small: 'fits' })
    } finally {
      execFileSync('umount', [at(test)])
    }
  })

  it('keeps the reserve and the quota that the operator set', async () => {
    await using reserved = await testStore({ diskReserveBytes: 2 ** 60 })
    await expect(save(reserved)).rejects.toMatchObject({ code: 'host_disk_full' })
    await using small = await testStore({ snapshotQuotaBytes: 1_000_000 })
    await expect(save(small)).rejects.toMatchObject({ code: 'quota_exceeded' })
    expect(await readdir(at(small))).toEqual([])
    await save(small, { little: 'x' })
  })
})

describe('opening', () => {
  /** Each must be refused with the code before anything is used, whether or not the daemon remembers the file. */
  const damages: Record<
    string,
    { code: string; damage: (test: Test, digest: string, other: string) => Promise<void> }
  > = {
    'a flipped byte': {
      code: 'snapshot_invalid',
      damage: (test, digest) => flip(at(test, digest, 'pages.img')),
    },
    'a flipped byte of another file': {
      code: 'snapshot_invalid',
      damage: (test, digest) => flip(at(test, digest, 'checkpoint.img')),
    },
    'a flipped byte of the manifest': {
      code: 'snapshot_invalid',
      damage: (test, digest) => flip(at(test, digest, 'manifest.json')),
    },
    'a file cut short': {
      code: 'snapshot_invalid',
      damage: (test, digest) => truncate(at(test, digest, 'pages.img'), 1_000),
    },
    'an empty file': {
      code: 'snapshot_invalid',
      damage: (test, digest) => truncate(at(test, digest, 'pages_meta.img'), 0),
    },
    'a missing file': {
      code: 'snapshot_invalid',
      damage: (test, digest) => rm(at(test, digest, 'pages.img')),
    },
    'a missing manifest': {
      code: 'snapshot_invalid',
      damage: (test, digest) => rm(at(test, digest, 'manifest.json')),
    },
    'a file of another snapshot of the same size': {
      code: 'snapshot_invalid',
      damage: (test, digest, other) => rename(at(test, other, 'pages.img'), at(test, digest, 'pages.img')),
    },
    'the folder of another snapshot': {
      code: 'snapshot_invalid',
      damage: async (test, digest, other) => {
        await rm(at(test, digest), { recursive: true })
        await rename(at(test, other), at(test, digest))
      },
    },
    'a link instead of a file': {
      code: 'snapshot_invalid',
      damage: async (test, digest, other) => {
        await rm(at(test, digest, 'pages.img'))
        await symlink(at(test, other, 'pages.img'), at(test, digest, 'pages.img'))
      },
    },
    'a link instead of the folder': {
      code: 'snapshot_invalid',
      damage: async (test, digest) => {
        await rename(at(test, digest), at(test, 'moved'))
        await symlink(at(test, 'moved'), at(test, digest))
      },
    },
    'a folder instead of a file': {
      code: 'snapshot_invalid',
      damage: async (test, digest) => {
        await rm(at(test, digest, 'pages.img'))
        await mkdir(at(test, digest, 'pages.img'))
      },
    },
    'a file of someone else': {
      code: 'snapshot_invalid',
      damage: (test, digest) => chown(at(test, digest, 'pages.img'), 1_000, 1_000),
    },
    'a file that others may read': {
      code: 'snapshot_invalid',
      damage: (test, digest) => chmod(at(test, digest, 'pages.img'), 0o644),
    },
    'a missing folder': {
      code: 'snapshot_invalid',
      damage: (test, digest) => rm(at(test, digest), { recursive: true }),
    },
  }
  for (const [name, { code, damage }] of Object.entries(damages))
    for (const restarted of [false, true])
      it(`refuses ${name}${restarted ? ', by a daemon that starts anew' : ''}`, async () => {
        await using test = await testStore()
        const { digest } = await save(test)
        const other = await save(test, { ...contents, 'pages.img': 'q'.repeat(3_000_000) })
        await damage(test, digest, other.digest)
        if (restarted) await test.reopen()
        await expect(open(test, digest)).rejects.toMatchObject({ code, retryable: false })
      })

  it('refuses a name that is no digest', async () => {
    await using test = await testStore()
    for (const name of ['..', '../sandboxes', '', 'A'.repeat(64)])
      await expect(open(test, name)).rejects.toMatchObject({ code: 'invalid_request' })
  })

  const manifestOf = async (test: Test): Promise<Manifest> => {
    const { digest } = await save(test)
    return JSON.parse(await readFile(at(test, digest, 'manifest.json'), 'utf8'))
  }
  /** A snapshot whose manifest says something else, and is named by that. */
  const forged = async (test: Test, change: (manifest: Manifest) => object): Promise<string> => {
    const manifest = await manifestOf(test)
    const text = JSON.stringify(change(manifest))
    const { digest } = await save(test)
    await writeFile(at(test, digest, 'manifest.json'), text)
    await rename(at(test, digest), at(test, digestOf(text)))
    return digestOf(text)
  }
  const unfit: Record<string, (manifest: Manifest) => object> = {
    'another runtime': (manifest) => ({ ...manifest, runtime: 'gvisor' }),
    'another version of the runtime': (manifest) => ({ ...manifest, runtimeVersion: 'simulated 2' }),
    'another CPU': (manifest) => ({ ...manifest, cpu: { ...manifest.cpu, model: '999' } }),
    'a CPU with more instructions': (manifest) => ({
      ...manifest,
      cpu: { ...manifest.cpu, flags: [...manifest.cpu.flags, 'avx999'] },
    }),
    'another guest agent': (manifest) => ({ ...manifest, agentGeneration: 99 }),
    'a newer format': (manifest) => ({ ...manifest, formatVersion: 2 }),
    'a field that this build does not know': (manifest) => ({ ...manifest, encrypted: true }),
  }
  for (const [name, change] of Object.entries(unfit))
    it(`refuses ${name}`, async () => {
      await using test = await testStore()
      const digest = await forged(test, change)
      await expect(open(test, digest)).rejects.toMatchObject({ code: 'snapshot_unfit', retryable: false })
    })

  for (const name of ['../../node.db', '/etc/passwd', '.hidden', 'manifest.json', 'a/b'])
    it(`refuses a manifest that names ${name}`, async () => {
      await using test = await testStore()
      const digest = await forged(test, (manifest) => ({
        ...manifest,
        files: manifest.files.map((file, index) => (index === 0 ? { ...file, name } : file)),
      }))
      await expect(open(test, digest)).rejects.toMatchObject({ code: 'snapshot_invalid' })
    })

  it('takes files alone from any version of the runtime', async () => {
    await using test = await testStore()
    const image = writeImage({ 'disk.tar': 'files' }, { kind: 'disk', version: 'simulated 0' })
    const { digest } = await saveSnapshot(test, { imageDigest, what }, image, { durable: true }, never)
    await using opened = await open(test, digest)
    expect(opened.manifest.kind).toBe('disk')
  })

  it('hashes a file once while it stays as it is, and again when it was touched', async () => {
    await using test = await testStore()
    const { digest } = await save(test)
    const identity = test.snapshots.verified.get(`${digest}/pages.img`)
    expect(identity).toBeDefined()
    const bytes = await readFile(at(test, digest, 'pages.img'))
    await writeFile(at(test, digest, 'pages.img'), bytes)
    await using _opened = await open(test, digest)
    expect(test.snapshots.verified.get(`${digest}/pages.img`)).not.toBe(identity)
  })
})

describe('removing', () => {
  it('frees the files with the last row that has them', async () => {
    await using test = await testStore()
    const { digest } = await save(test)
    test.records.snapshots.insert(row('one', digest))
    test.records.snapshots.insert(row('two', digest))
    expect(test.records.snapshots.usedBytes()).toBe(10)
    expect(await forgetSnapshot(test, 'one')).toBe(0)
    await using _still = await open(test, digest)
    expect(await forgetSnapshot(test, 'none')).toBe(0)
    expect(await forgetSnapshot(test, 'two')).toBe(10)
  })

  it('waits for those who read', async () => {
    await using test = await testStore()
    const { digest } = await save(test)
    test.records.snapshots.insert(row('one', digest))
    {
      await using _first = await open(test, digest)
      await using second = await open(test, digest)
      await forgetSnapshot(test, 'one')
      for (const { path, bytes } of second.image.files) expect((await stat(path)).size).toBe(bytes)
    }
    expect(await readdir(at(test))).toEqual([])
    await expect(open(test, digest)).rejects.toMatchObject({ code: 'snapshot_invalid' })
  })

  it('sweeps at the start what is not whole or has no row, and nothing that it does not know', async () => {
    await using test = await testStore()
    const [kept, lost] = [await save(test), await save(test)]
    test.records.snapshots.insert(row('kept', kept.digest))
    await mkdir(at(test, '.new-0123'))
    await mkdir(at(test, 'notes'))
    expect(await sweepSnapshots(test)).toBe(2)
    expect((await readdir(at(test))).toSorted()).toEqual([kept.digest, 'notes'].toSorted())
    await expect(open(test, lost.digest)).rejects.toMatchObject({ code: 'snapshot_invalid' })
  })
})

const flip = async (path: string): Promise<void> => {
  const bytes = await readFile(path)
  const middle = Math.floor(bytes.length / 2)
  bytes[middle] = (bytes[middle] ?? 0) ^ 1
  await writeFile(path, bytes)
}
