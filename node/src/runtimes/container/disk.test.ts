import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runOk } from '../../host/run.ts'
import type { MachineSpec } from '../driver.ts'
import { checkDisk, copyDisk, diskPath, ensureDisk } from './disk.ts'

const soon = (): AbortSignal => AbortSignal.timeout(30_000)
const mib = 1024 ** 2
const specOf = (directory: string): MachineSpec => ({
  id: 'sbx_disk',
  directory,
  imagePath: '',
  hostname: 'disk',
  limits: {
    cpuMillis: 1_000,
    memoryBytes: 128 * mib,
    processes: 32,
    diskBytes: 64 * mib,
    openFiles: 1_024,
  },
  uidBase: 2_500_000_000,
  deadlineUnixMs: null,
})
/** Overwrites bytes of the file. */
const spoil = async (path: string, offset: number, bytes: Buffer): Promise<void> => {
  await using file = await open(path, 'r+')
  await file.write(bytes, 0, bytes.length, offset)
}
/** As a host leaves it that goes down; the superblock has a checksum. */
const leaveMounted = (path: string) =>
  runOk({
    act: 'mark the disk as mounted',
    file: 'debugfs',
    args: ['-w', '-R', 'set_super_value state 0', path],
    timeoutMs: 10_000,
    signal: soon(),
  })
const mark = async (path: string): Promise<number> => {
  await using file = await open(path, 'r')
  return (await file.read(Buffer.alloc(2), 0, 2, 1_024 + 0x3a)).buffer.readUInt16LE()
}

describe("a container's disk", () => {
  let directory = ''
  beforeAll(async () => {
    directory = await mkdtemp('/tmp/atl-')
    await ensureDisk(specOf(directory), soon())
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  it('is sparse, and so is its copy', async () => {
    const to = join(directory, 'copy')
    await copyDisk(diskPath(directory), to, soon())
    await checkDisk(to, 'internal', soon())
    const { size, blocks } = await stat(to)
    expect(size).toBe(64 * mib)
    expect(blocks * 512).toBeLessThan(8 * mib)
  })

  it('is mended at the next start when the host went down with it mounted', async () => {
    await leaveMounted(diskPath(directory))
    await ensureDisk(specOf(directory), soon())
    expect(await mark(diskPath(directory))).toBe(1)
  })

  it('is refused, and kept, when it is beyond that; a copy is removed', async () => {
    const path = diskPath(directory)
    const copy = join(directory, 'torn')
    // The whole table of the first inodes, the root among them.
    const junk = Buffer.alloc(3 * mib, 0xa5)
    await copyDisk(path, copy, soon())
    await spoil(copy, 8_192, junk)
    await expect(checkDisk(copy, 'snapshot_invalid', soon())).rejects.toMatchObject({
      code: 'snapshot_invalid',
    })
    await expect(stat(copy)).rejects.toMatchObject({ code: 'ENOENT' })
    await leaveMounted(path)
    await spoil(path, 8_192, junk)
    await expect(ensureDisk(specOf(directory), soon())).rejects.toMatchObject({ code: 'snapshot_invalid' })
    expect((await stat(path)).size).toBe(64 * mib)
  })
})
