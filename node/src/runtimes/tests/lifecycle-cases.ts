import { expect } from 'vitest'
import { askHealth } from '../../guest/calls.ts'
import { guestConnection } from '../../guest/connection.ts'
import type { Case } from '../conformance.ts'
import { booted, eventually } from './bench.ts'

const soon = () => AbortSignal.timeout(10_000)

export const lifecycleCases: Readonly<Record<string, Case>> = {
  'is available, by a probe that booted': async (bench) => {
    const capabilities = await bench.capabilities()
    expect(capabilities.unavailable).toBeUndefined()
    expect(capabilities.available).toBe(true)
    expect(capabilities.version).not.toBe('')
    expect(capabilities.isolation).not.toBe('')
  },
  'starts a machine whose guest takes its identity': async (bench) => {
    await using box = await bench.boot()
    expect(box.adopted).toMatchObject({
      sandboxId: box.spec.id,
      hostname: 'conforming',
      limits: { memoryBytes: box.spec.limits.memoryBytes, processes: box.spec.limits.processes },
    })
    expect(Math.abs(box.adopted?.clockSkewMs ?? Infinity)).toBeLessThan(1_000)
    expect((await box.run(['hostname'])).stdout).toBe('conforming\n')
    expect(await box.machine.state(soon())).toBe('running')
    expect(box.machine.record).toMatchObject({ id: box.spec.id, directory: box.spec.directory })
  },
  'starts no process before the guest has its identity': async (bench) => {
    await using box = await bench.boot({ adopt: false })
    const answer = await box.json('PUT', '/v1/processes/early', { argv: ['true'] })
    expect(answer).toMatchObject({ status: 409, body: { code: 'not_adopted' } })
  },
  'lets a newer session replace an older one': async (bench) => {
    await using box = await bench.boot()
    await box.start('lasting', ['sleep', '600'])
    const second = guestConnection((signal) => box.machine.connectGuest(signal), Math.random)
    expect(await askHealth(second, 5_000)).toMatchObject({ sandboxId: box.spec.id, adopted: true })
    const { body } = await box.json('GET', '/v1/processes/lasting')
    expect(body.state).toBe('running')
  },
  'destroys with a receipt, and again': async (bench) => {
    await using box = await bench.boot()
    const receipt = await box.machine.destroy(soon())
    expect(receipt.processes).toBeGreaterThanOrEqual(1)
    await box.machine.destroy(soon())
    expect(await box.machine.state(soon())).toBe('ended')
  },
  'destroys while a command writes and another has children': async (bench) => {
    await using box = await bench.boot()
    await box.start('noisy', ['yes'])
    await box.start('parent', 'sleep 600; true')
    expect((await box.machine.destroy(soon())).processes).toBeGreaterThanOrEqual(1)
    expect(await box.machine.exited).toMatchObject({ cause: 'killed' })
  },
  'destroys a frozen machine': async (bench) => {
    await using box = await bench.boot()
    if ((await bench.capabilities()).freeze) await box.machine.freeze(soon())
    expect((await box.machine.destroy(soon())).processes).toBeGreaterThanOrEqual(1)
  },
  "ends at the host's deadline without anyone's help": async (bench) => {
    await using box = await bench.boot({ deadlineUnixMs: Date.now() + 6_000 })
    await box.machine.setDeadline(Date.now() + 500, 'kill', soon())
    expect(await box.machine.exited).toMatchObject({ cause: 'deadline' })
  },
  'keeps the machine when its deadline moves away': async (bench) => {
    await using box = await bench.boot({ deadlineUnixMs: Date.now() + 4_000 })
    await box.machine.setDeadline(Date.now() + 600_000, 'kill', soon())
    await new Promise((resolve) => setTimeout(resolve, 4_500))
    expect(await box.machine.state(soon())).toBe('running')
  },
  'is taken back by a fresh driver, with its processes': async (bench) => {
    await using box = await bench.boot()
    await box.start('lasting', ['cat'], { stdin: 'pipe' })
    const machine = await bench.makeDriver().recover(structuredClone(box.machine.record), soon())
    expect(machine).toBeDefined()
    if (machine === undefined) return
    await using again = await booted(machine, box.spec, false)
    await again.guest.request({
      method: 'POST',
      path: '/v1/processes/lasting/stdin?close=1',
      body: Buffer.from('still here'),
    })
    const ran = await again.read('/v1/processes/lasting/output?follow=1')
    expect(ran).toMatchObject({ stdout: 'still here', exit: { code: 0 } })
  },
  'takes back nothing that is gone': async (bench) => {
    await using box = await bench.boot()
    await box.machine.destroy(soon())
    expect(await bench.makeDriver().recover(box.machine.record, soon())).toBeUndefined()
  },
  'ends what a start that was never finished left': async (bench) => {
    await using box = await bench.boot()
    const record = {
      ...box.machine.record,
      shimPid: 0,
      shimStartTime: 0,
      runtimePid: 0,
      runtimeStartTime: 0,
      version: 'unfinished',
    }
    expect(await bench.makeDriver().recover(record, soon())).toBeUndefined()
    await box.machine.exited
    await eventually('the machine is ended', async () => (await box.machine.state(soon())) === 'ended')
  },
  'freezes and thaws, with its processes': async (bench) => {
    if (!(await bench.capabilities()).freeze) return
    await using box = await bench.boot()
    await box.start('ticker', 'while true; do echo tick; sleep 0.05; done')
    await box.machine.freeze(soon())
    expect(await box.machine.state(soon())).toBe('frozen')
    await box.machine.thaw(soon())
    expect(await box.machine.state(soon())).toBe('running')
    expect((await box.json('GET', '/v1/processes/ticker')).body.state).toBe('running')
    expect((await box.run(['true'])).exit.code).toBe(0)
  },
  'reports what it uses': async (bench) => {
    await using box = await bench.boot()
    await box.start('sleeper', ['sleep', '600'])
    const usage = await box.machine.usage(soon())
    expect(usage.memoryLimitBytes).toBeGreaterThanOrEqual(box.spec.limits.memoryBytes)
    expect(usage.hostProcesses).toBeGreaterThanOrEqual(1)
    expect(usage.oomKills).toBe(0)
  },
  'resizes, and answers what is in force': async (bench) => {
    if (!(await bench.capabilities()).resize) return
    await using box = await bench.boot()
    const limits = await box.machine.resize({ cpuMillis: 500 }, soon())
    expect(limits).toMatchObject({ cpuMillis: 500, memoryBytes: box.spec.limits.memoryBytes })
  },
  'leaves nothing of a start that was aborted': async (bench) => {
    await using box = await bench.boot()
    const spec = { ...box.spec, id: `${box.spec.id.slice(0, -4)}aaaa` }
    await expect(bench.driver.start(spec, AbortSignal.abort(new Error('not wanted')))).rejects.toThrow()
  },
}
