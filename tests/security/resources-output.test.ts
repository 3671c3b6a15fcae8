import { request } from 'node:http'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import type { Sandbox } from '@atoll/sdk'
import { attackEach } from './battery.ts'
import { daemonResidentBytes } from './host-memory.ts'
import { sandboxFolder } from './sandbox-folder.ts'

const mib = 1024 * 1024
/** What one stream may cost the daemon at most, whatever the sandbox says: buffers of all hops and GC slack. */
const daemonSlackBytes = 96 * mib
/** The agent evicts a reader that took nothing for 10 s (docs/reference/guest-protocol.md). */
const evictedWithinMs = 13_000

attackEach('output', ({ create, stack }) => {
  let sandbox: Sandbox
  beforeAll(async () => {
    sandbox = await create()
  })

  it('carries 100 MB to a fast reader whole, in bounded memory', async () => {
    const before = daemonResidentBytes(stack().pid)
    const process = await sandbox.start('sleep 1; head -c 100000000 /dev/zero')
    let bytes = 0
    let peak = before
    let ended = false
    for await (const event of process) {
      if (event.type === 'stdout') bytes += event.data.length
      else if (event.type === 'gap') bytes = Number.NaN
      else if (event.type === 'exit') ended = event.exit.code === 0
      peak = Math.max(peak, daemonResidentBytes(stack().pid))
    }
    expect(ended).toBe(true)
    expect(bytes).toBe(100_000_000)
    expect(peak - before).toBeLessThan(daemonSlackBytes)
  }, 60_000)

  it('bounds a buffered answer and tells what it dropped', async () => {
    const result = await sandbox.run('head -c 40000000 /dev/zero', { maxOutputBytes: 1_000_000 })
    expect(result.stdoutBytes.length).toBe(1_000_000)
    expect(result.droppedBytes).toBe(39_000_000)
  }, 60_000)

  it('evicts a reader that stands still on infinite output, in bounded memory, and delays nobody', async () => {
    const process = await sandbox.start('cat /dev/zero', { timeoutMs: 60_000 })
    const before = daemonResidentBytes(stack().pid)
    const stalled = await stalledReader(stack(), sandbox.id, process.id)
    let peak = before
    const deadline = Date.now() + evictedWithinMs
    let slowestMs = 0
    while (Date.now() < deadline) {
      const started = Date.now()
      expect((await sandbox.run('echo alive')).stdout).toBe('alive\n')
      slowestMs = Math.max(slowestMs, Date.now() - started)
      peak = Math.max(peak, daemonResidentBytes(stack().pid))
    }
    expect(slowestMs).toBeLessThan(3_000)
    expect(peak - before).toBeLessThan(daemonSlackBytes)
    expect(await stalled.drainToLastLine(), 'its last line').toMatch(/"type":"evicted"/)
    expect((await process.info()).state, 'the process goes on without it').toBe('running')
    await process.kill()
  }, 60_000)

  it('keeps the logs on the host small, whatever a sandbox prints', async () => {
    await sandbox.run('for i in $(seq 1 20); do head -c 100000 /dev/zero; done > /dev/null; echo x >&2', {
      timeoutMs: 60_000,
    })
    await sandbox.run('head -c 3000000 /dev/zero > /dev/console; head -c 3000000 /dev/zero > /proc/1/fd/2', {
      user: 'root',
      timeoutMs: 30_000,
    })
    const folder = sandboxFolder(stack(), sandbox.id)
    const logs = readdirSync(folder).filter((name) => name.endsWith('.log'))
    for (const name of logs) expect(statSync(join(folder, name)).size).toBeLessThanOrEqual(mib)
  }, 60_000)

  it("keeps the sandbox's words out of the daemon's log", async () => {
    await sandbox.run('echo words-of-the-sandbox-4711; echo words-of-the-sandbox-4711 >&2; exit 3')
    expect(stack().output()).not.toContain('words-of-the-sandbox-4711')
    for (const name of readdirSync(stack().dataFolder).filter((one) => one.endsWith('.log')))
      expect(readFileSync(join(stack().dataFolder, name), 'utf8')).not.toContain('words-of-the-sandbox-4711')
  })
})

/** A client that follows a process's output and reads nothing, until it is told to drain. */
const stalledReader = (
  { port, apiKey }: { port: number; apiKey: string },
  sandbox: string,
  process: string,
): Promise<{ drainToLastLine(): Promise<string> }> =>
  new Promise((resolve, reject) => {
    const sent = request(
      {
        host: '127.0.0.1',
        port,
        path: `/v1/sandboxes/${sandbox}/processes/${process}/output?follow=1`,
        headers: { authorization: `Bearer ${apiKey}`, accept: 'application/x-ndjson' },
      },
      (answer) => {
        answer.pause()
        resolve({
          drainToLastLine: () =>
            new Promise((done, failed) => {
              let tail = ''
              answer.on('data', (chunk: Buffer) => {
                tail = (tail + chunk.toString('latin1')).slice(-2_000)
              })
              answer.on('end', () => done(tail.trimEnd().split('\n').at(-1) ?? ''))
              answer.on('error', failed)
              setTimeout(() => failed(new Error(`the stream went on: …${tail.slice(-200)}`)), 15_000).unref()
              answer.resume()
            }),
        })
      },
    )
    sent.on('error', reject)
    sent.end()
  })
