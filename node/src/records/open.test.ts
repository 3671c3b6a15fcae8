import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { testSpec } from '../machines/test-node.ts'
import { openRecords } from './open.ts'
import type { SandboxRecord } from './sandboxes.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'atoll-records-'))
})
afterEach(() => rm(folder, { recursive: true }))

const record = (change: Partial<SandboxRecord> = {}): SandboxRecord => {
  const spec = testSpec()
  return {
    id: spec.id,
    state: 'running',
    version: 1,
    spec,
    specHash: 'hash',
    runtime: 'simulated',
    isolation: { runtime: 'simulated', version: '1', strength: 'none', description: '', notes: [] },
    lease: spec.lease,
    machine: null,
    machineId: null,
    generation: 1,
    depth: null,
    saved: null,
    pausedAtMs: null,
    parent: null,
    bootId: 'boot',
    slot: 0,
    createdAtMs: 1,
    stateDeadlineMs: null,
    idleSinceMs: null,
    ending: null,
    ended: null,
    timings: { totalMs: 1.5 },
    ...change,
  }
}

describe('node.db', () => {
  it('is readable by its owner alone, and gives back what was put in', async () => {
    const records = openRecords(folder)
    const one = record()
    records.sandboxes.insert(one)
    expect(records.sandboxes.get(one.id)).toEqual(one)
    records.close()
    expect((await stat(join(folder, 'node.db'))).mode & 0o777).toBe(0o600)
    const again = openRecords(folder)
    expect(again.sandboxes.get(one.id)).toEqual(one)
    again.close()
  })

  it('changes a record only at the version that was read', () => {
    const records = openRecords(folder)
    const one = record()
    records.sandboxes.insert(one)
    expect(records.sandboxes.change(one, { state: 'deleting' })).toMatchObject({ version: 2 })
    expect(records.sandboxes.change(one, { state: 'stopped' })).toBeUndefined()
    expect(records.sandboxes.get(one.id)).toMatchObject({ state: 'deleting', version: 2 })
    records.close()
  })

  it('never gives a slot to two, and gives the lowest free one', () => {
    const records = openRecords(folder)
    const slots: number[] = []
    for (let count = 0; count < 3; count++) {
      const slot = records.sandboxes.freeSlot()
      slots.push(slot)
      records.sandboxes.insert(record({ slot }))
    }
    expect(slots).toEqual([0, 1, 2])
    expect(() => records.sandboxes.insert(record({ slot: 1 }))).toThrow(/UNIQUE/)
    const first = records.sandboxes.all().find(({ slot }) => slot === 0)
    if (first !== undefined) records.sandboxes.change(first, { slot: null })
    expect(records.sandboxes.freeSlot()).toBe(0)
    records.close()
  })

  it('keeps counting events where it was, and undoes a transaction that fails', () => {
    const records = openRecords(folder)
    const event = { atMs: 1, sandbox: 'sbx', type: 'running', data: { a: 1 } }
    expect(records.events.append(event).seq).toBe(1)
    expect(() =>
      records.atomic(() => {
        records.events.append(event)
        throw new Error('undone')
      }),
    ).toThrow('undone')
    records.close()
    const again = openRecords(folder)
    expect(again.events.append(event).seq).toBe(2)
    expect(again.events.after(1, 10)).toEqual([{ ...event, seq: 2 }])
    again.close()
  })

  it('refuses records of a newer build', () => {
    openRecords(folder).close()
    const database = new DatabaseSync(join(folder, 'node.db'))
    database.exec('PRAGMA user_version = 999')
    database.close()
    expect(() => openRecords(folder)).toThrow(/version 999/)
  })

  it('forgets tombstones after their time', () => {
    const records = openRecords(folder)
    const ended = { cause: 'deleted', by: 'me', atMs: 1_000, message: '', receipt: null } as const
    records.sandboxes.insert(record({ state: 'ended', ended, slot: null }))
    expect(records.sandboxes.forgetEndedBefore(1_000)).toBe(0)
    expect(records.sandboxes.forgetEndedBefore(1_001)).toBe(1)
    records.close()
  })
})
