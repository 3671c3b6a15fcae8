import { join } from 'node:path'
import { expect } from 'vitest'
import { askHealth } from '../../guest/calls.ts'
import { guestConnection } from '../../guest/connection.ts'
import { AtollError } from '@atoll/protocol'
import type { Case } from '../conformance.ts'
import { booted, eventually } from './bench.ts'
import { soon } from './snapshots.ts'

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export const standstillCases: Readonly<Record<string, Case>> = {
  'uses no CPU while it is frozen': async (bench) => {
    await using box = await bench.boot()
    await box.start('busy', ['yes'])
    await box.machine.freeze(soon())
    const before = await box.machine.usage(soon())
    await wait(1_000)
    const after = await box.machine.usage(soon())
    // 0.1 % of one second.
    expect(after.cpuMs - before.cpuMs).toBeLessThanOrEqual(1)
    await box.machine.thaw(soon())
    expect((await box.json('GET', '/v1/processes/busy')).body.state).toBe('running')
  },
  'answers after the thaw who asked while it was frozen': async (bench) => {
    await using box = await bench.boot()
    await box.machine.freeze(soon())
    const second = guestConnection((signal) => box.machine.connectGuest(signal), Math.random)
    const answer = askHealth(second, 10_000)
    await wait(100)
    await box.machine.thaw(soon())
    expect(await answer).toMatchObject({ sandboxId: box.spec.id, adopted: true })
    second.close(new AtollError('canceled', 'the case is over'))
  },
  'is frozen by the host at a deadline that says so, and goes on after a thaw': async (bench) => {
    await using box = await bench.boot()
    await box.start('lasting', ['sleep', '600'])
    await box.machine.setDeadline(Date.now() + 200, 'freeze', soon())
    await eventually('frozen', async () => (await box.machine.state(soon())) === 'frozen', 5_000)
    await box.machine.thaw(soon())
    await wait(200)
    expect(await box.machine.state(soon())).toBe('running')
    await box.machine.setDeadline(null, 'kill', soon())
    expect((await box.json('GET', '/v1/processes/lasting')).body.state).toBe('running')
    expect((await box.run('echo up')).stdout).toBe('up\n')
  },
  'still ends at a deadline that comes while it is frozen': async (bench) => {
    await using box = await bench.boot()
    await box.machine.freeze(soon())
    await box.machine.setDeadline(Date.now() + 200, 'kill', soon())
    expect(await box.machine.exited).toMatchObject({ cause: 'deadline' })
  },
  'keeps its disk in place over an end and a new start': async (bench) => {
    await using box = await bench.boot()
    await box.run('echo kept > /home/user/note')
    await box.machine.destroy(soon())
    await bench.driver.keepDisk(box.spec.directory)
    const machine = await bench.driver.start(box.spec, soon())
    await using again = await booted(machine, box.spec, true)
    expect((await again.run('cat /home/user/note')).stdout).toBe('kept\n')
  },
  'saves its disk, and boots others on it': async (bench) => {
    await using box = await bench.boot()
    await box.run('echo kept > /home/user/note; chmod 4750 /home/user/note')
    await box.start('lasting', ['sleep', '600'])
    const image = await box.machine.checkpoint(join(await bench.folder(), 'image'), 'disk', soon())
    expect(image).toMatchObject({ kind: 'disk', diskBytes: box.spec.limits.diskBytes })
    expect((await box.json('GET', '/v1/processes/lasting')).body.state).toBe('running')
    await box.run('echo later > /home/user/note')
    const spec = await bench.makeSpec()
    await using other = await booted(await bench.driver.start(spec, soon(), image), spec, true)
    expect((await other.run('cat /home/user/note; stat -c "%U %a" /home/user/note')).stdout).toBe(
      'kept\nuser 4750\n',
    )
    await other.run('echo other > /home/user/note')
    expect((await box.run('cat /home/user/note')).stdout).toBe('later\n')
    const [file] = image.files
    const cut = { ...image, files: [{ name: 'disk.ext4', path: file?.path ?? '', bytes: 4_096 }] }
    const refused = bench.driver.start(await bench.makeSpec(), soon(), cut)
    await expect(refused).rejects.toMatchObject({ code: 'snapshot_invalid' })
    const larger = await bench.makeSpec({ limits: { diskBytes: image.diskBytes * 2 } })
    await expect(bench.driver.start(larger, soon(), image)).rejects.toMatchObject({ code: 'snapshot_unfit' })
  },
  'says so where it cannot save memory, and goes on': async (bench) => {
    if ((await bench.capabilities()).memorySnapshot) return
    await using box = await bench.boot()
    const spec = await bench.makeSpec()
    const image = {
      kind: 'memory',
      runtime: bench.driver.name,
      version: '',
      diskBytes: 0,
      files: [],
    } as const
    for (const refused of [
      box.machine.checkpoint(await bench.folder(), 'memory', soon()),
      bench.driver.restore(image, spec, soon()),
      bench.driver.blank(spec, soon()),
    ])
      await expect(refused).rejects.toMatchObject({ code: 'unsupported' })
    expect((await box.run(['true'])).exit.code).toBe(0)
  },
}
