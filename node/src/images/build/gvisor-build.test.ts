import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { BuildEvent, Step } from '@atoll/protocol'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testHost } from '../../host/test-host.ts'
import { gvisorDriver } from '../../runtimes/gvisor/driver.ts'
import { ensureBase } from '../ensure-base.ts'
import type { ImageRecord } from '../image-record.ts'
import { openImageStore } from '../image-store.ts'
import { removeTree } from '../remove-tree.ts'
import { type TestStore, leftovers, openTestStore, tarOf, whyNot } from '../test-store.ts'
import { type BuildDeps, buildTemplate } from './build-template.ts'
import { openGuestSandboxes } from './open-guest-sandbox.ts'

const host = testHost()
const cache = join(process.env['ATOLL_TEST_DATA'] ?? '/var/lib/atoll', 'cache')
const skip =
  whyNot() ??
  host.skip ??
  (existsSync(join(cache, 'base.tar.zst')) ? undefined : `no base in ${cache}: run scripts/setup`)
if (skip !== undefined) console.warn(`SKIPPED gvisor-build: ${skip}`)

describe.skipIf(skip !== undefined)('buildTemplate on gVisor', () => {
  let context: TestStore
  let deps: BuildDeps
  let base: ImageRecord
  let directory: string
  const signal = AbortSignal.timeout(300_000)

  beforeAll(async () => {
    context = await openTestStore()
    const dataDirectory = join(context.folder, 'data')
    const { unpackerPath } = context.store
    const store = await openImageStore({ dataDirectory, unpackerPath, agentPath: host.agentPath })
    for (const name of ['base.json', 'base.tar.zst'])
      await copyFile(join(cache, name), join(store.cacheDirectory, name))
    base = await ensureBase(store, () => {}, signal)
    const { launcherPath, agentPath } = host
    const driver = gvisorDriver({
      launcherPath,
      agentPath,
      stateFolder: '/run/atoll-test/gvisor',
      cgroupParent: 'atoll-test',
    })
    // Short: sockets lie in it.
    directory = await mkdtemp('/tmp/atb-')
    deps = { store, openSandbox: openGuestSandboxes({ store, driver: async () => driver, directory }) }
  })

  afterAll(async () => {
    await removeTree(directory)
    await context[Symbol.asyncDispose]()
  })

  const build = async (steps: readonly Step[], contextPath: string | null) => {
    const events: BuildEvent[] = []
    const plan = { parent: base, steps, contextPath, noCache: false, origin: 'test' }
    const image = await buildTemplate(deps, plan, (event) => events.push(event), signal)
    return { image, events }
  }

  test('runs steps in a sandbox, keeps ids, modes and links, and boots what it built', {
    timeout: 240_000,
  }, async () => {
    const contextPath = await tarOf(context.folder, { 'app/main.py': 'print(6 * 7)\n' })
    const steps: Step[] = [
      { type: 'copy', from: 'app', to: '/home/user/app', owner: 'user' },
      { type: 'workdir', path: '/home/user/app' },
      { type: 'run', shell: 'id -u; python3 main.py > answer; ln answer same; chmod 750 answer' },
      {
        type: 'run',
        argv: ['/bin/sh', '-c', 'id -u; stat -c %u:%a:%h answer; mkdir /opt/made; ls /proc | wc -l'],
        user: 'root',
      },
    ]
    const { image, events } = await build(steps, contextPath)
    const output = events.flatMap((event) => (event.type === 'output' ? [event.text] : [])).join('')
    expect(output).toMatch(/^1000\n0\n1000:750:2\n\d+\n$/)
    const check: Step = {
      type: 'run',
      shell:
        'cat same; stat -c %u:%a:%h same; ls -d /opt/made /proc/1; ls -lan /usr/bin/su | cut -c1-10; exit 3',
    }
    const second = buildTemplate(
      deps,
      { parent: image, steps: [check], contextPath: null, noCache: false, origin: 'check' },
      (event) => events.push(event),
      signal,
    )
    await expect(second).rejects.toMatchObject({
      code: 'build_failed',
      details: { exitCode: 3, output: '42\n1000:750:2\n/opt/made\n/proc/1\n-rwsr-xr-x\n' },
    })
    const again = await build(steps, contextPath)
    expect(again.image.digest).toBe(image.digest)
    expect(again.events.filter((event) => event.type === 'step').map((event) => event.cached)).toEqual([
      true,
      false,
      true,
      true,
    ])
    expect(await leftovers(context)).toEqual([])
    expect(await readdir(directory)).toEqual([])
  })

  test('ends a command at its limit and says which', async () => {
    const late = build([{ type: 'run', shell: 'echo begun; sleep 60', timeoutMs: 1_000 }], null)
    await expect(late).rejects.toMatchObject({
      code: 'build_failed',
      message: 'step 1 of 1 (run echo begun; sleep 60) ran over its 1000 ms',
      details: { output: 'begun\n' },
    })
  })

  test('says that a program is not in the image', async () => {
    const missing = build([{ type: 'run', argv: ['no-such-program'] }], null)
    await expect(missing).rejects.toMatchObject({ code: 'exec_failed', details: { step: 0 } })
  })
})
