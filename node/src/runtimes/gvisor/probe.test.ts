import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { testHost } from '../../host/test-host.ts'
import { gvisorDriver } from './driver.ts'

const { launcherPath, agentPath, skip } = testHost()
const common = { launcherPath, agentPath, stateFolder: '/run/atoll-test/gvisor', cgroupParent: 'atoll-test' }

describe.skipIf(skip !== undefined)(`the probe of gvisor (${skip ?? 'runs'})`, () => {
  it.each(['socket', 'cli'] as const)('boots a sandbox by %s', async (controlPath) => {
    const driver = gvisorDriver({ ...common, controlPath })
    const capabilities = await driver.probe(AbortSignal.timeout(30_000))
    expect(capabilities).toMatchObject({
      available: true,
      strength: 'strong',
      version: 'runsc 20240729 systrap',
    })
  })

  it('refuses another build with the remedy, without booting it', async () => {
    const folder = await mkdtemp('/tmp/atl-')
    const runscPath = join(folder, 'runsc')
    await writeFile(runscPath, '#!/bin/sh\necho "runsc version 0.0~20221219.0"\n')
    await chmod(runscPath, 0o755)
    const { available, unavailable } = await gvisorDriver({ ...common, runscPath }).probe(
      AbortSignal.timeout(30_000),
    )
    expect(available).toBe(false)
    expect(unavailable?.reason).toContain('20221219')
    expect(unavailable?.remedy).toContain('20240729')
    await rm(folder, { recursive: true })
  })

  it('says what to do when runsc is not there', async () => {
    const driver = gvisorDriver({ ...common, runscPath: '/nonexistent/runsc' })
    const { available, unavailable } = await driver.probe(AbortSignal.timeout(30_000))
    expect(available).toBe(false)
    expect(unavailable?.remedy).toContain('install')
  })
})
