import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { reap } from '../../src/host/launcher.ts'
import { containerDriver } from '../../src/runtimes/container/driver.ts'
import { gvisorDriver } from '../../src/runtimes/gvisor/driver.ts'
import { drivers, host, launchersOf, signal, stateFolders, untilGone, useDrill } from './drill.ts'

const runtimes = ['gvisor', 'container'] as const
const common = { launcherPath: host.launcherPath, agentPath: host.agentPath, cgroupParent: 'atoll-test' }
const withTool = {
  gvisor: (path: string) => gvisorDriver({ ...common, stateFolder: stateFolders.gvisor, runscPath: path }),
  container: (path: string) =>
    containerDriver({ ...common, stateFolder: stateFolders.container, crunPath: path }),
}

describe.skipIf(host.skip !== undefined).each(runtimes)(
  `a start that fails on %s (${host.skip ?? 'runs'})`,
  (runtime) => {
    const drill = useDrill()

    it.each([
      ['/nonexistent', 'No such file'],
      ['/bin/false', 'ended with code 1'],
    ])('because the runtime is %s: says so and leaves nothing', async (path, words) => {
      const spec = await drill.spec()
      await expect(withTool[runtime](path).start(spec, signal())).rejects.toMatchObject({
        code: 'runtime_unavailable',
        message: expect.stringContaining(words),
      })
      expect(await untilGone(spec)).toEqual([])
    })

    it('because the image is missing: says so and leaves nothing', async () => {
      const spec = await drill.spec({ imagePath: '/nonexistent.erofs' })
      await expect(drivers[runtime].start(spec, signal())).rejects.toThrow(/nonexistent\.erofs|no such file/i)
      expect(await untilGone(spec)).toEqual([])
    })

    it("because others may look into the sandbox's folder: refuses", async () => {
      const spec = await drill.spec()
      chmodSync(spec.directory, 0o755)
      await expect(drivers[runtime].start(spec, signal())).rejects.toThrow('mode 0700')
      expect(await untilGone(spec)).toEqual([])
    })

    it('because the caller gives up: leaves nothing', async () => {
      for (const afterMs of [5, 20]) {
        const spec = await drill.spec()
        await expect(drivers[runtime].start(spec, AbortSignal.timeout(afterMs))).rejects.toThrow()
        expect(await untilGone(spec)).toEqual([])
      }
    })

    it('because all launcher processes are killed, at any point: reap leaves nothing', async () => {
      let cut = 0
      for (let afterMs = 5; afterMs <= 245; afterMs += 30) {
        const spec = await drill.spec()
        const starting = drivers[runtime].start(spec, signal()).then(
          (machine) => machine,
          () => undefined,
        )
        await sleep(afterMs)
        for (const pid of launchersOf(spec.directory)) killIfThere(pid)
        const machine = await starting
        if (machine === undefined) cut++
        await machine?.destroy(signal())
        await reap(host.launcherPath, spec.directory, signal())
        expect([afterMs, await untilGone(spec)]).toEqual([afterMs, []])
        expect(existsSync(join(spec.directory, 'exit.json'))).toBe(true)
        expect(JSON.parse(readFileSync(join(spec.directory, 'exit.json'), 'utf8'))).toHaveProperty('cause')
      }
      // The blows were not all too late or too early.
      expect(cut).toBeGreaterThan(1)
    })
  },
)

describe.skipIf(host.skip !== undefined)(`a full data folder (${host.skip ?? 'runs'})`, () => {
  const drill = useDrill()

  it('fails the start with its own code and leaves nothing', async () => {
    const spec = await drill.spec()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k,mode=700', 'none', spec.directory])
    try {
      await expect(drivers.gvisor.start(spec, signal())).rejects.toThrow(/ENOSPC|No space/)
      expect(await untilGone(spec)).toEqual([])
    } finally {
      execFileSync('umount', [spec.directory])
    }
  })
})

const killIfThere = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Ended by itself in between: that is one of the points in time that are tried.
  }
}
