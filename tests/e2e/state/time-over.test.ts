import { setTimeout as sleep } from 'node:timers/promises'
import type { CreateOptions, Sandbox } from '@atoll/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Drill, small, startDrill } from '../drill.ts'

const timeoutMs = 8_000
/** What the host waits above the lease before it acts by itself, and a little more. */
const overMs = timeoutMs + 10_000 + 1_500

describe('a time that is over while a sandbox is paused', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const frozen = async (options: CreateOptions): Promise<Sandbox> => {
    const { sandboxes } = drill.stack.atoll
    const sandbox = await sandboxes.create({ runtime: 'gvisor', limits: small, ...options })
    await sandbox.files.write('/root/kept', 'kept', { user: 'root' })
    await sandbox.pause({ depth: 'frozen' })
    return sandbox
  }
  const kept = async (sandbox: Sandbox) => (await sandbox.run(['cat', '/root/kept'], { user: 'root' })).stdout

  it.each(['delete', 'pause', 'stop'] as const)(
    'neither ends nor hangs what then goes to disk (%s at its end)',
    async (onTimeout) => {
      const [stored, stopped] = await Promise.all([
        frozen({ timeoutMs, onTimeout }),
        frozen({ timeoutMs, onTimeout }),
      ])
      await sleep(overMs)
      expect(await stored.pause()).toMatchObject({ state: 'paused', depth: 'stored' })
      expect(await kept(stored)).toBe('kept')
      await stopped.resume()
      expect(await stopped.stop()).toMatchObject({ state: 'stopped' })
      await Promise.all([stored.delete(), stopped.delete()])
    },
    60_000,
  )

  it('is what an extension made it, also one that came while it was resuming', async () => {
    const sandbox = await frozen({ timeoutMs })
    await sandbox.pause({ depth: 'stored' })
    const woken = kept(sandbox)
    await sleep(60)
    const { expiresAtMs } = await sandbox.extend(600_000)
    expect(await woken).toBe('kept')
    expect((await sandbox.refresh()).expiresAtMs).toBe(expiresAtMs)
    await sleep(overMs)
    expect(await sandbox.refresh()).toMatchObject({ state: 'running' })
    await sandbox.delete()
  }, 60_000)
})
