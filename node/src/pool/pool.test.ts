import { randomBytes } from 'node:crypto'
import { mkdir, readdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DatabaseSync } from 'node:sqlite'
import { makeId } from '@atoll/protocol'
import { describe, expect, it, vi } from 'vitest'
import type { NodeOptions } from '../machines/limits.ts'
import { runIn, type TestNode, testNode, testSpec } from '../machines/test-node.ts'
import { openRecords } from '../records/open.ts'
import type { Machine, RuntimeDriver } from '../runtimes/driver.ts'
import { simulatedDriver } from '../runtimes/simulated/driver.ts'
import { poolLimits } from './limits.ts'

const pooled = (change: Partial<NodeOptions> = {}): { options: Partial<NodeOptions> } => ({
  options: { poolMax: 3, templateSnapshots: true, ...change },
})

/** What node.db says of the pool, by a second connection: the daemon's own stays its own. */
const rows = (test: TestNode): { machineId: string; role: string; key: string }[] => {
  const database = new DatabaseSync(join(test.folder, 'node.db'), { readOnly: true })
  try {
    const found = database.prepare('SELECT machine_id, role, key FROM pool ORDER BY machine_id').all()
    return found.map((row) => ({
      machineId: String(row['machine_id']),
      role: String(row['role']),
      key: String(row['key']),
    }))
  } finally {
    database.close()
  }
}
const members = (test: TestNode): string[] =>
  rows(test)
    .filter(({ role }) => role === 'ready')
    .map(({ machineId }) => machineId)

/** Every machine, folder and slot belongs to a sandbox that lives or to the pool, and to one alone. */
const expectNothingLost = (test: TestNode): Promise<void> =>
  // A fill may be under way: between its row and its folder there is an instant.
  vi.waitFor(() => lookForLost(test), { timeout: 5_000, interval: 50 })

const lookForLost = async (test: TestNode): Promise<void> => {
  const living = (await test.node.list()).filter(({ state }) => state !== 'ended')
  const pool = rows(test).map(({ machineId }) => machineId)
  const database = new DatabaseSync(join(test.folder, 'node.db'), { readOnly: true })
  const named = database
    .prepare("SELECT machine_id AS id FROM sandboxes WHERE state <> 'ended'")
    .all()
    .map((row) => String(row['id']))
  const slots = database
    .prepare('SELECT slot FROM sandboxes WHERE slot IS NOT NULL UNION ALL SELECT slot FROM pool')
    .all()
  database.close()
  const all = [...pool, ...named].toSorted()
  expect(new Set(all).size).toBe(all.length)
  expect(named.length).toBe(living.length)
  expect(new Set(slots.map((row) => row['slot'])).size).toBe(all.length)
  expect((await readdir(join(test.folder, 'sandboxes'))).toSorted()).toEqual(all)
  expect([...test.world.machines.keys()].filter((id) => !all.includes(id))).toEqual([])
}

const settled = async (test: TestNode, count: number): Promise<void> => {
  await expect.poll(() => members(test).length, { timeout: 10_000 }).toBe(count)
  await expect.poll(() => rows(test).filter(({ role }) => role === 'begun').length).toBe(0)
}

/** A driver whose machines are changed, from the given count of them on. */
const changing =
  (change: (machine: Machine, count: number) => Machine) =>
  (driver: RuntimeDriver): RuntimeDriver => {
    let count = 0
    const changed = (machine: Machine): Machine => change(machine, ++count)
    return {
      ...driver,
      start: async (...given) => changed(await driver.start(...given)),
      blank: async (...given) => {
        const blank = await driver.blank(...given)
        return { ...blank, restore: async (...image) => changed(await blank.restore(...image)) }
      },
    }
  }

const boom = async (): Promise<never> => {
  throw new Error('boom')
}

describe('the pool', () => {
  it('follows the demand, and serves whatever is asked for at the claim', async () => {
    await using test = await testNode(pooled())
    const first = await test.node.create(testSpec())
    expect(first.timings).toMatchObject({ claimMs: expect.any(Number), totalMs: expect.any(Number) })
    await settled(test, 1)
    const before = members(test)
    const spec = testSpec({
      env: { NAME: 'other' },
      hostname: 'another',
      limits: { cpuMillis: 3_000, memoryMib: 777, diskMib: 64, processes: 99, openFiles: 333 },
      lease: { ...testSpec().lease, expiresAtMs: Date.now() + 12_345 },
    })
    const made = await test.node.create(spec)
    expect(made.timings).toMatchObject({ claimMs: expect.any(Number), adoptMs: expect.any(Number) })
    expect(made.timings).not.toHaveProperty('restoreMs')
    expect(made).toMatchObject({ state: 'running', limits: spec.limits, lease: spec.lease, generation: 1 })
    expect(test.world.machines.get(before[0]!)?.limits).toMatchObject({ cpuMillis: 3_000, processes: 99 })
    expect(await runIn(test.node, spec.id, ['sh', '-c', 'echo $NAME'])).toMatchObject({ stdout: 'other\n' })
    await settled(test, 2)
    await expectNothingLost(test)
  })

  it('has a template of its own for another disk size, and boots once for many at a time', async () => {
    let boots = 0
    await using test = await testNode({
      ...pooled({ poolMax: 2, boots: 2 }),
      wrap: (driver) => ({
        ...driver,
        start: (...given) => {
          boots++
          return driver.start(...given)
        },
      }),
    })
    const cold = Array.from({ length: 50 }, () => test.node.create(testSpec()))
    for (const made of await Promise.all(cold)) expect(made.state).toBe('running')
    expect(boots).toBe(1)
    await test.node.create(testSpec({ limits: { ...testSpec().limits, diskMib: 128 } }))
    expect(boots).toBe(2)
    await settled(test, 2)
    await expectNothingLost(test)
  })

  it('is bounded by its count and by its memory', async () => {
    await using test = await testNode(pooled({ poolMax: 2 }))
    await Promise.all(Array.from({ length: 6 }, () => test.node.create(testSpec())))
    await settled(test, 2)
    await using poor = await testNode(pooled({ poolMemoryMib: 0 }))
    await poor.node.create(testSpec())
    await expect.poll(() => rows(poor).filter(({ role }) => role === 'blank').length).toBe(2)
    expect(members(poor)).toEqual([])
    await expectNothingLost(poor)
  })

  it('is not filled by whoever asks for ever other disk sizes', async () => {
    await using test = await testNode(pooled({ poolMax: 200 }))
    const keys = () => new Set(rows(test).map(({ key }) => key))
    for (let size = 0; size < poolLimits.shelves + 4; size++) {
      const spec = testSpec()
      await test.node.create({ ...spec, limits: { ...spec.limits, diskMib: 1_000 + size } })
    }
    await expect.poll(() => keys().size, { timeout: 20_000 }).toBeGreaterThan(1)
    await expect.poll(() => keys().size <= poolLimits.shelves, { timeout: 20_000 }).toBe(true)
    await sleep(2_000)
    expect(keys().size).toBeLessThanOrEqual(poolLimits.shelves)
    expect([...keys()].some((key) => key.endsWith(`/${1_000}`))).toBe(false)
  }, 60_000)

  it('replaces a member that died', async () => {
    await using test = await testNode(pooled())
    await test.node.create(testSpec())
    await settled(test, 1)
    const [dead] = members(test)
    test.world.machines.get(dead!)?.exited.resolve({
      cause: 'oom',
      code: null,
      signal: 'SIGKILL',
      oomKills: 1,
      atUnixMs: 1,
      message: 'killed',
    })
    await expect.poll(() => members(test).some((id) => id !== dead), { timeout: 10_000 }).toBe(true)
    await expect.poll(() => members(test).includes(dead!)).toBe(false)
    await expectNothingLost(test)
  })

  it('restores where nothing waits, and boots where the runtime cannot restore', async () => {
    await using test = await testNode(pooled({ poolMax: 0 }))
    await test.node.create(testSpec())
    const restored = await test.node.create(testSpec())
    expect(restored.timings).toMatchObject({ blankMs: expect.any(Number), restoreMs: expect.any(Number) })
    expect(rows(test)).toEqual([])
    await using plain = await testNode({
      ...pooled(),
      wrap: (driver) => ({
        ...driver,
        probe: async (signal) => ({ ...(await driver.probe(signal)), memorySnapshot: false }),
      }),
    })
    expect((await plain.node.create(testSpec())).timings).toHaveProperty('startMs')
    await settled(plain, 1)
    expect((await plain.node.create(testSpec())).timings).toHaveProperty('claimMs')
    await expectNothingLost(plain)
  })

  it('lets an image go with all that waits on it, but not one that a snapshot stands on', async () => {
    await using test = await testNode(pooled())
    const spec = testSpec()
    await test.node.create(spec)
    await settled(test, 1)
    await expect(test.node.deleteImage(spec.imageDigest)).rejects.toMatchObject({ code: 'in_use' })
    const snapshot = makeId('snp', randomBytes(20))
    await test.node.snapshot(spec.id, { id: snapshot, kind: 'memory' }, 'me')
    await test.node.delete(spec.id, 'deleted', 'me')
    await expect(test.node.deleteImage(spec.imageDigest)).rejects.toMatchObject({ code: 'in_use' })
    expect(members(test).length).toBe(1)
    await test.node.deleteSnapshot(snapshot)
    await test.node.deleteImage(spec.imageDigest)
    await expect.poll(() => rows(test)).toEqual([])
    expect(await readdir(join(test.folder, 'snapshots'))).toEqual([])
    await expectNothingLost(test)
  })

  it('makes a template anew whose files are damaged, and boots when it cannot', async () => {
    await using test = await testNode(pooled({ poolMax: 0 }))
    await test.node.create(testSpec())
    const [digest] = await readdir(join(test.folder, 'snapshots'))
    const folder = join(test.folder, 'snapshots', digest!)
    for (const name of await readdir(folder))
      if (name !== 'manifest.json') await truncate(join(folder, name), 1)
    expect((await test.node.create(testSpec())).state).toBe('running')
    expect(await readdir(join(test.folder, 'snapshots'))).not.toContain(digest)
    expect((await test.node.create(testSpec())).timings).toHaveProperty('claimMs')
    await using broken = await testNode({
      ...pooled(),
      wrap: changing((machine) => ({ ...machine, checkpoint: boom })),
    })
    expect((await broken.node.create(testSpec())).timings).toHaveProperty('startMs')
    await expectNothingLost(broken)
  })
})

describe('a claim that fails', () => {
  const faults: Record<string, (machine: Machine) => Machine> = {
    'at its thaw': (machine) => ({ ...machine, thaw: boom }),
    'at its limits': (machine) => ({ ...machine, resize: boom }),
    'at its deadline': (machine) => ({ ...machine, setDeadline: boom }),
  }
  for (const [where, break_] of Object.entries(faults))
    it(`takes the next machine: ${where}`, async () => {
      let broken = 2
      await using test = await testNode({
        ...pooled(),
        // Only while they are claimed: filling thaws nothing and sets no limit.
        wrap: changing((machine) => {
          const bad = break_(machine)
          const pick = <Name extends 'thaw' | 'resize' | 'setDeadline'>(name: Name): Machine[Name] =>
            (async (...given: unknown[]) => {
              const isFill = name === 'resize' && !Object.hasOwn(given[0] as object, 'memoryBytes')
              if (bad[name] !== machine[name] && !isFill && broken-- > 0) return await boom()
              return await (machine[name] as (...all: unknown[]) => Promise<unknown>)(...given)
            }) as Machine[Name]
          return { ...machine, thaw: pick('thaw'), resize: pick('resize'), setDeadline: pick('setDeadline') }
        }),
      })
      const made = await Promise.all(
        [testSpec(), testSpec(), testSpec()].map((spec) => test.node.create(spec)),
      )
      expect(made.map(({ state }) => state)).toEqual(['running', 'running', 'running'])
      const more = await test.node.create(testSpec())
      expect(more.state).toBe('running')
      await settled(test, 3)
      await expectNothingLost(test)
    })

  it('does not try a second machine for what the first one refuses', async () => {
    await using test = await testNode(pooled())
    await test.node.create(testSpec())
    await settled(test, 1)
    const spec = testSpec()
    await test.node.create(spec)
    await settled(test, 2)
    await expect(test.node.create({ ...spec, hostname: 'x' })).rejects.toMatchObject({ code: 'conflict' })
    expect(members(test).length).toBe(2)
    await expectNothingLost(test)
  })
})

describe('a daemon that comes back', () => {
  it('takes its members back, and nothing that was given away or only begun', async () => {
    await using test = await testNode(pooled())
    await Promise.all(Array.from({ length: 3 }, () => test.node.create(testSpec())))
    await settled(test, 3)
    const before = members(test)
    await test.node[Symbol.asyncDispose]()
    expect(members(test)).toEqual(before)
    const records = openRecords(test.folder)
    const all = records.pool.all().filter(({ role }) => role === 'ready')
    const [adopted, begun, gone] = all
    // Adopted by a claim whose record was never written; begun by a fill; died meanwhile.
    const guest = test.world.machines.get(adopted!.machineId)!.guest
    guest.identity = { ...structuredClone(guest.identity!), sandboxId: 'sbx_aaaaaaaaaaaaaaaaaaaa' }
    records.pool.settle(begun!.machineId, 'begun', begun!.machine!)
    test.world.machines.delete(gone!.machineId)
    records.close()
    await test.restart()
    await expect.poll(() => before.filter((id) => rows(test).some((row) => row.machineId === id))).toEqual([])
    await expectNothingLost(test)
  })

  it('keeps what fits, and frees it where the pool is turned off', async () => {
    await using test = await testNode(pooled())
    await Promise.all(Array.from({ length: 2 }, () => test.node.create(testSpec())))
    await settled(test, 2)
    const before = members(test)
    await test.restart()
    await expect
      .poll(() => before.every((id) => test.world.machines.get(id)?.guest.frozen.isClosed), {
        timeout: 5_000,
      })
      .toBe(true)
    await test.restart({ options: { poolMax: 0 } })
    await expect.poll(() => rows(test)).toEqual([])
    await expectNothingLost(test)
  })

  it('frees what a fill left at whatever step the daemon died', async () => {
    await using test = await testNode(pooled())
    await test.node.create(testSpec())
    await settled(test, 1)
    await test.node[Symbol.asyncDispose]()
    const records = openRecords(test.folder)
    const [member] = records.pool.all().filter(({ role }) => role === 'ready')
    const rest = { runtime: 'simulated', key: member!.key, bootId: member!.bootId, createdAtMs: 1 } as const
    const begun = (machineId: string) =>
      records.pool.insert({
        ...rest,
        machineId,
        role: 'begun',
        slot: records.sandboxes.freeSlot(),
        machine: null,
      })
    // Recorded alone; with its folder; with a machine that its row does not know yet.
    const ids = ['c', 'd', 'e'].map((letter) => `sbx_${letter.repeat(20)}`)
    for (const id of ids) begun(id)
    for (const id of ids.slice(1)) {
      const folder = join(test.folder, 'sandboxes', id)
      await mkdir(folder)
      await writeFile(
        join(folder, 'sandbox.json'),
        JSON.stringify({ id, runtime: 'simulated', bootId: rest.bootId }),
      )
    }
    const { cpuMillis, processes, openFiles } = testSpec().limits
    await simulatedDriver({ world: test.world }).start(
      {
        id: ids[2]!,
        directory: join(test.folder, 'sandboxes', ids[2]!),
        imagePath: '',
        hostname: 'sandbox',
        limits: { cpuMillis, processes, openFiles, memoryBytes: 2 ** 27, diskBytes: 2 ** 26 },
        uidBase: 1,
        deadlineUnixMs: null,
      },
      AbortSignal.timeout(5_000),
    )
    records.close()
    await test.restart()
    await expect.poll(() => rows(test).filter(({ machineId }) => ids.includes(machineId))).toEqual([])
    expect(members(test)).toContain(member!.machineId)
    await expectNothingLost(test)
  })

  it('keeps nothing of another boot of the host', async () => {
    await using test = await testNode({ ...pooled(), bootId: 'boot-1' })
    await test.node.create(testSpec())
    await settled(test, 1)
    const before = members(test)
    await test.restart({ bootId: 'boot-2' })
    await expect.poll(() => rows(test).some(({ machineId }) => before.includes(machineId))).toBe(false)
  })
})
