import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import type { ErrorBody, Sandbox } from '@atoll/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { shareTemplates } from '../../stack/share-templates.ts'
import { call, createSandbox, expectStatus, getSandbox, run, until } from '../call.ts'
import { type Drill, livingSandboxes, startDrill } from '../drill.ts'
import { heldInMemory, holdInMemory } from './held-in-memory.ts'
import { orphans } from './orphans.ts'

/** Room for a small sandbox with what the runtime keeps free beside it, and not for one that holds so much memory. */
const roomMib = 160
const heldMib = 300

const fillMemory = `
import os, time
held = os.urandom(${heldMib} << 20)
open('/tmp/filled', 'w').close()
time.sleep(3600)
`

describe('a full disk', () => {
  let drill: Drill
  let images: string
  let sandbox: Sandbox
  let held: string
  beforeAll(async () => {
    const dataFolder = await mkdtemp('/tmp/atoll-')
    await shareTemplates(dataFolder)
    images = join(dataFolder, 'snapshots')
    mkdirSync(images, { mode: 0o700 })
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${roomMib}m,mode=0700`, 'tmpfs', images])
    drill = await startDrill({ dataFolder })
    sandbox = await createSandbox(drill.stack, {
      runtime: 'gvisor',
      limits: { memoryMib: 512, diskMib: 256 },
    })
    held = await holdInMemory(drill.stack, sandbox.id)
    await call(drill.stack, 'POST', `/v1/sandboxes/${sandbox.id}/processes`, {
      body: { argv: ['python3', '-c', fillMemory] },
    })
    await until('its memory is full', 30_000, async () =>
      (await run(drill.stack, sandbox.id, ['test', '-e', '/tmp/filled'])).exit.code === 0 ? true : undefined,
    )
  }, 180_000)
  afterAll(async () => {
    await drill?.clean()
    execFileSync('umount', ['--lazy', images])
    await drill?.[Symbol.asyncDispose]()
  })

  const verbs = { snapshot: 'snapshots', 'pause stored': 'pause', fork: 'fork' }
  it.each(Object.entries(verbs))(
    'refuses %s, leaves nothing of it, and the sandbox runs on',
    async (_, verb) => {
      const { stack } = drill
      const before = readdirSync(images).toSorted()
      const refused = await call<ErrorBody>(stack, 'POST', `/v1/sandboxes/${sandbox.id}/${verb}`, {
        body: {},
      })
      expect([refused.status, refused.body.code], refused.body.message).toEqual([507, 'host_disk_full'])
      expect(await getSandbox(stack, sandbox.id)).toMatchObject({ state: 'running', depth: null })
      expect(await heldInMemory(stack, sandbox.id)).toBe(held)
      expect(readdirSync(images).toSorted()).toEqual(before)
      expect(await livingSandboxes(stack)).toEqual([sandbox.id])
      expect(await orphans(stack)).toEqual([])
      const { body } = await call<{ snapshots: unknown[] }>(stack, 'GET', '/v1/snapshots')
      expect(body.snapshots).toEqual([])
    },
    120_000,
  )

  it('does not keep it from being frozen, nor a small one from being stored', async () => {
    const { stack } = drill
    const path = `/v1/sandboxes/${sandbox.id}`
    const frozen = await call<Sandbox>(stack, 'POST', `${path}/pause`, { body: { depth: 'frozen' } })
    expect(expectStatus(frozen, [200], 'freeze')).toMatchObject({ state: 'paused', depth: 'frozen' })
    // Deepening it fails, and it is as frozen as before.
    const refused = await call<ErrorBody>(stack, 'POST', `${path}/pause`, { body: {} })
    expect([refused.status, refused.body.code]).toEqual([507, 'host_disk_full'])
    expect(await getSandbox(stack, sandbox.id)).toMatchObject({ state: 'paused', depth: 'frozen' })
    expect(await heldInMemory(stack, sandbox.id)).toBe(held)
    const small = await createSandbox(stack, { runtime: 'gvisor', limits: { memoryMib: 256, diskMib: 256 } })
    const stored = await call<Sandbox>(stack, 'POST', `/v1/sandboxes/${small.id}/pause`, { body: {} })
    expect(expectStatus(stored, [200], 'store')).toMatchObject({ state: 'paused', depth: 'stored' })
    expect((await run(stack, small.id, ['echo', 'back'])).stdout).toBe('back\n')
  }, 120_000)
})
