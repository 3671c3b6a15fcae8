import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { call, createSandbox, deleteSandbox, expectStatus, run, until } from './call.ts'
import { type Drill, small, startDrill } from './drill.ts'
import { residentBytes, resetPeak } from './host-processes.ts'
import { machineParts } from './machine-parts.ts'

/** What one client that stops reading may cost the daemon at most; ten of them here. */
const perReaderBytes = 8 * 1024 ** 2
const readers = 10
/** The heap of a daemon that works breathes by about this much, measured. */
const breathingBytes = 48 * 1024 ** 2

/** Invariant 9: who stops reading is paused, costs bounded memory and delays nobody. */
describe('a client that stops reading', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const kinds = {
    'endless output': {
      path: (id: string, reader: number) => `/v1/sandboxes/${id}/processes/flood-${reader}/output?follow=1`,
      prepare: async (id: string, reader: number) => {
        const started = await call(drill.stack, 'POST', `/v1/sandboxes/${id}/processes`, {
          body: { id: `flood-${reader}`, argv: ['sh', '-c', 'yes 0123456789012345678901234567890123456789'] },
        })
        expectStatus(started, [200, 201], 'start the flood')
      },
    },
    'a big file': {
      path: (id: string) => `/v1/sandboxes/${id}/files?path=/tmp/big`,
      prepare: async (id: string, reader: number) => {
        if (reader > 0) return
        await run(drill.stack, id, ['sh', '-c', 'head -c 200M /dev/zero > /tmp/big'])
      },
    },
  } as const

  it.each(Object.keys(kinds) as (keyof typeof kinds)[])(
    'of %s costs bounded memory and delays nobody',
    async (kind) => {
      const { stack } = drill
      const [noisy, quiet] = await Promise.all([
        createSandbox(stack, { runtime: 'gvisor', limits: { ...small, diskMib: 512 } }),
        createSandbox(stack, { runtime: 'gvisor', limits: small }),
      ])
      const parts = await machineParts(stack, noisy.id)
      const alone = await execTimes(quiet.id, 15)
      for (let reader = 0; reader < readers; reader++) await kinds[kind].prepare(noisy.id, reader)
      const before = { daemon: residentBytes(stack.pid).now, shim: residentBytes(parts.shim.pid).now }
      resetPeak(stack.pid)

      const stalled = await Promise.all(
        Array.from({ length: readers }, (_, reader) => readOnceAndStall(kinds[kind].path(noisy.id, reader))),
      )
      await new Promise((resolve) => setTimeout(resolve, 4_000))
      const beside = await execTimes(quiet.id, 15)
      const daemonGrew = residentBytes(stack.pid).peak - before.daemon
      const shimGrew = residentBytes(parts.shim.pid).now - before.shim
      console.log(
        `stalled readers of ${kind}: daemon +${mib(daemonGrew)} MiB, shim +${mib(shimGrew)} MiB for ${readers}; ` +
          `exec median ${alone.toFixed(0)} ms alone, ${beside.toFixed(0)} ms beside`,
      )
      expect(daemonGrew).toBeLessThan(readers * perReaderBytes + breathingBytes)
      expect(shimGrew).toBeLessThan(perReaderBytes)
      // Ten `yes` share its CPU with nobody: the neighbour may feel the machine being busy, and no stall.
      expect(beside).toBeLessThan(alone * 5 + 250)
      // The noisy sandbox itself still answers on other streams of the same session.
      expect((await run(stack, noisy.id, ['echo', 'there'])).stdout).toBe('there\n')

      for (const socket of stalled) socket.destroy()
      await deleteSandbox(stack, noisy.id)
      await deleteSandbox(stack, quiet.id)
      expect(await drill.difference()).toEqual({})
    },
  )

  /** Asks, reads the first bytes so that the stream is known to flow, and reads no more. */
  const readOnceAndStall = async (path: string): Promise<Socket> => {
    const { port, apiKey } = drill.stack
    const socket = connect(port, '127.0.0.1')
    socket.write(
      `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/x-ndjson\r\nauthorization: Bearer ${apiKey}\r\n\r\n`,
    )
    const first = await new Promise<Buffer>((resolve, reject) => {
      socket.once('data', resolve)
      socket.once('error', reject)
    })
    socket.pause()
    expect(first.toString('latin1')).toMatch(/^HTTP\/1\.1 200 /)
    socket.on('error', () => undefined)
    return socket
  }

  const execTimes = async (id: string, count: number): Promise<number> => {
    const times: number[] = []
    for (let index = 0; index < count; index++) {
      const start = performance.now()
      expect((await run(drill.stack, id, ['true'])).exit.code).toBe(0)
      times.push(performance.now() - start)
    }
    return times.sort((left, right) => left - right)[Math.floor(count / 2)]!
  }

  it('is evicted or paused, and can take the stream up again where it left', async () => {
    const { stack } = drill
    const sandbox = await createSandbox(stack, { runtime: 'gvisor', limits: small })
    await call(stack, 'POST', `/v1/sandboxes/${sandbox.id}/processes`, {
      body: {
        id: 'flood',
        argv: ['sh', '-c', 'i=0; while [ $i -lt 200000 ]; do echo line-$i; i=$((i+1)); done; echo last'],
      },
    })
    const socket = await readOnceAndStall(`/v1/sandboxes/${sandbox.id}/processes/flood/output?follow=1`)
    // It goes on without its reader: the last line is in the ring in the end.
    const seen = await until('the process ends', 60_000, async () => {
      const answer = await call<{ state: string; exit: { code: number } }>(
        stack,
        'GET',
        `/v1/sandboxes/${sandbox.id}/processes/flood`,
      )
      return answer.body.state === 'exited' ? answer.body : undefined
    })
    expect(seen.exit.code).toBe(0)
    const again = await call<string>(stack, 'GET', `/v1/sandboxes/${sandbox.id}/processes/flood`)
    expect(again.status).toBe(200)
    socket.destroy()
    await deleteSandbox(stack, sandbox.id)
  })
})

const mib = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1)
