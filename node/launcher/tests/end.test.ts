import { describe, expect, it } from 'vitest'
import { drivers, host, signal, untilGone, useDrill } from './drill.ts'

describe.skipIf(host.skip !== undefined).each(['gvisor', 'container'] as const)(
  `ends on %s (${host.skip ?? 'runs'})`,
  (runtime) => {
    const drill = useDrill()

    it('at its deadline, with nobody connected', async () => {
      const at = Date.now() + 1_500
      const spec = await drill.spec({ deadlineUnixMs: at })
      await using machine = await drivers[runtime].start(spec, signal())
      const exit = await machine.exited
      expect(exit.cause).toBe('deadline')
      expect(exit.atUnixMs).toBeGreaterThanOrEqual(at)
      expect(exit.atUnixMs).toBeLessThan(at + 2_000)
      expect(await machine.state(signal())).toBe('ended')
    })

    it('at a deadline that was moved while it was frozen', async () => {
      const spec = await drill.spec()
      await using machine = await drivers[runtime].start(spec, signal())
      await machine.freeze(signal())
      expect(await machine.state(signal())).toBe('frozen')
      await machine.setDeadline(Date.now() + 200, 'kill', signal())
      expect((await machine.exited).cause).toBe('deadline')
    })

    it('on destroy while it is frozen, and a second destroy answers the same receipt', async () => {
      const spec = await drill.spec()
      const machine = await drivers[runtime].start(spec, signal())
      await machine.freeze(signal())
      const receipt = await machine.destroy(signal())
      expect(receipt.processes).toBeGreaterThan(0)
      expect(receipt.cgroups).toBeGreaterThan(0)
      expect(await machine.destroy(signal())).toEqual(receipt)
      expect(await machine.exited).toMatchObject({ cause: 'killed' })
      expect(await untilGone(spec)).toEqual([])
    })

    it('reads limits back after a resize, and counts use', async () => {
      const spec = await drill.spec()
      await using machine = await drivers[runtime].start(spec, signal())
      const limits = await machine.resize(
        { memoryBytes: 96 * 1024 ** 2, cpuMillis: 500, processes: 20 },
        signal(),
      )
      expect(limits).toEqual({ ...spec.limits, memoryBytes: 96 * 1024 ** 2, cpuMillis: 500, processes: 20 })
      await expect(machine.resize({ diskBytes: 1 }, signal())).rejects.toMatchObject({ code: 'unsupported' })
      const usage = await machine.usage(signal())
      expect(usage.memoryBytes).toBeGreaterThan(0)
      expect(usage.cpuMs).toBeGreaterThan(0)
      expect(usage.memoryLimitBytes).toBeGreaterThanOrEqual(limits.memoryBytes)
    })
  },
)
