import { randomBytes, randomInt } from 'node:crypto'
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeId } from '@atoll/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { agentImage } from '../../host/probe-boot.ts'
import { runOk } from '../../host/run.ts'
import { askShim } from '../../host/shim.ts'
import { testHost } from '../../host/test-host.ts'
import type { Machine, MachineSpec } from '../driver.ts'
import { saveFault } from './checkpoint.ts'
import { gvisorDriver } from './driver.ts'
import { checkImageFiles, imageFiles } from './image-files.ts'
import { pagesBytes } from './pages-meta.ts'

const { launcherPath, agentPath, skip } = testHost()
const driver = gvisorDriver({
  launcherPath,
  agentPath,
  stateFolder: '/run/atoll-test/gvisor',
  cgroupParent: 'atoll-test',
})
const soon = (): AbortSignal => AbortSignal.timeout(30_000)

/** A file system of that size until the end of the test. */
const small = async (folder: string, kind: 'tmpfs' | 'ext4', kib: number): Promise<string> => {
  const place = await mkdtemp(join(folder, 'small-'))
  const tool = (file: string, ...args: string[]) =>
    runOk({ act: `make a small disk`, file, args, timeoutMs: 10_000, signal: soon() })
  if (kind === 'tmpfs') await tool('mount', '-t', 'tmpfs', '-o', `size=${kib}k`, 'none', place)
  else {
    await tool('truncate', '-s', `${kib}k`, `${place}.img`)
    await tool('mke2fs', '-q', '-F', '-t', 'ext4', `${place}.img`)
    await tool('mount', '-o', 'loop', `${place}.img`, place)
  }
  return place
}
const unmount = (place: string) =>
  runOk({ act: 'unmount', file: 'umount', args: [place], timeoutMs: 10_000, signal: soon() })

const specIn = async (folder: string, imagePath: string): Promise<MachineSpec> => ({
  id: makeId('sbx', randomBytes(20)),
  directory: await mkdtemp(join(folder, 'machine-')),
  imagePath,
  hostname: 'full',
  limits: {
    cpuMillis: 1_000,
    memoryBytes: 128 * 1024 ** 2,
    processes: 32,
    diskBytes: 64 * 1024 ** 2,
    openFiles: 1_024,
  },
  uidBase: 2_500_000_000 + 65_536 * randomInt(1, 1_000),
  deadlineUnixMs: Date.now() + 120_000,
})

/** The call itself, without what the driver looks at before and after. */
const rawCheckpoint = (machine: Machine, target: string): Promise<unknown> =>
  askShim(
    machine.record.directory,
    {
      do: 'call',
      method: 'containerManager.Checkpoint',
      arg: {
        key: null,
        metadata: { compression: 'none' },
        MemoryFileSaveOpts: { ExcludeCommittedZeroPages: false },
        have_pages_file: true,
        Resume: true,
      },
      files: imageFiles.map((name) => ({ path: join(target, name), mode: 'write' })),
    },
    z.object({}),
    soon(),
  ).then(
    () => undefined,
    (error: unknown) => error,
  )

describe.skipIf(skip !== undefined)(`a checkpoint that meets a full disk (${skip ?? 'runs'})`, () => {
  let folder = ''
  let imagePath = ''
  let machine: Machine
  beforeAll(async () => {
    folder = await mkdtemp('/tmp/atl-')
    imagePath = await agentImage(folder, agentPath, soon())
    machine = await driver.start(await specIn(folder, imagePath), soon())
  })
  afterAll(async () => {
    await machine?.destroy(soon())
    await rm(folder, { recursive: true, force: true })
  })

  it('is refused before it begins, and leaves no file', async () => {
    const place = await small(folder, 'tmpfs', 1_024)
    try {
      await expect(machine.checkpoint(place, 'memory', soon())).rejects.toMatchObject({
        code: 'host_disk_full',
      })
      expect(await readdir(place)).toEqual([])
    } finally {
      await unmount(place)
    }
  })

  it.each([
    ['tmpfs', 64],
    ['tmpfs', 512],
    ['ext4', 640],
  ] as const)('is never whole where it was cut: %s of %i KiB', async (kind, kib) => {
    const place = await small(folder, kind, kib)
    try {
      const fault = await rawCheckpoint(machine, place)
      const files = imageFiles.map((name) => ({ name, path: join(place, name) }))
      await expect(checkImageFiles(files, 'internal')).rejects.toThrow('not whole')
      expect(await saveFault('it', place, fault)).toMatchObject({ code: 'host_disk_full' })
    } finally {
      await unmount(place)
    }
    expect(await machine.state(soon())).toBe('running')
    const image = await machine.checkpoint(await mkdtemp(join(folder, 'good-')), 'memory', soon())
    await checkImageFiles(image.files, 'internal')
  })

  it('is refused at its restore when its kernel is spoilt, and leaves nothing', async () => {
    const image = await machine.checkpoint(await mkdtemp(join(folder, 'spoilt-')), 'memory', soon())
    const [state] = image.files
    {
      await using file = await open(state?.path ?? '', 'r+')
      await file.write(randomBytes(64), 0, 64, Math.floor((state?.bytes ?? 0) / 2))
    }
    const spec = await specIn(folder, imagePath)
    await expect(driver.restore(image, spec, soon())).rejects.toMatchObject({ code: 'snapshot_invalid' })
    expect(await readdir(spec.directory)).not.toContain('shim.json')
  })

  it('knows from the list how long the pages are, and takes no list that was cut or spoilt', async () => {
    const image = await machine.checkpoint(await mkdtemp(join(folder, 'good-')), 'memory', soon())
    const [, list, pages] = image.files
    const bytes = await readFile(list?.path ?? '')
    expect(pagesBytes(bytes)).toBe(pages?.bytes)
    for (let length = 1; length < bytes.length; length += 7) {
      const cut = (): number => pagesBytes(bytes.subarray(0, length))
      // A cut between two ranges is a list, of fewer pages.
      expect(whatever(cut)).not.toBe(pages?.bytes)
    }
    expect(() => pagesBytes(randomBytes(4_096))).toThrow()
  })
})

const whatever = (work: () => number): number => {
  try {
    return work()
  } catch {
    return -1
  }
}
