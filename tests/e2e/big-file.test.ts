import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { deleteSandbox, run, until } from './call.ts'
import { type Drill, realRuntimes, startDrill } from './drill.ts'
import { residentBytes, resetPeak } from './host-processes.ts'
import { askShim, machineFolder, machineParts } from './machine-parts.ts'

const fileBytes = 1024 ** 3
const full = process.env['ATOLL_DRILL_FULL'] === '1'
const chunkBytes = 1024 ** 2
/** What a GiB in flight may add to the daemon and to the shim. */
const daemonGrowthBytes = 96 * 1024 ** 2
const shimGrowthBytes = 4 * 1024 ** 2
const memoryMib = 512

/** Every chunk another, so that neither order nor number can be wrong unseen. */
const pattern = Buffer.alloc(chunkBytes, 'atoll carries what it was given and nothing else. ')
const chunkAt = (index: number): Uint8Array => {
  const chunk = Buffer.from(pattern)
  chunk.writeUInt32BE(index, 0)
  return chunk
}

describe('one GiB', () => {
  let drill: Drill
  beforeAll(async () => {
    drill = await startDrill()
  })
  afterEach(() => drill.clean())
  afterAll(() => drill?.[Symbol.asyncDispose]())

  const measured = full ? realRuntimes : (['gvisor'] as const)
  if (!full) console.log('one GiB: on gvisor; ATOLL_DRILL_FULL=1 takes the container too')
  it.each(measured)(
    'goes both ways through the SDK with bounded memory (%s)',
    { timeout: 240_000 },
    async (runtime) => {
      const { stack } = drill
      const sandbox = await stack.atoll.sandboxes.create({
        runtime,
        limits: { cpuMillis: 2_000, memoryMib, diskMib: 2_048 },
      })
      const { shim } = await machineParts(stack, sandbox.id)
      const before = { daemon: residentBytes(stack.pid).now, shim: residentBytes(shim.pid).now }
      resetPeak(stack.pid)
      resetPeak(shim.pid)

      const sent = createHash('sha256')
      const upStart = performance.now()
      const written = await sandbox.files.write(
        '/tmp/big',
        body(fileBytes, (chunk) => sent.update(chunk)),
      )
      const upMs = performance.now() - upStart
      const hash = sent.digest('hex')
      expect(written).toMatchObject({ size: fileBytes, sha256: hash })
      // The hash of the receipt is the agent's; coreutils read the file again.
      const checked = await run(stack, sandbox.id, ['sha256sum', '/tmp/big'])
      expect(checked.stdout.split(' ')[0]).toBe(hash)

      const received = createHash('sha256')
      let receivedBytes = 0
      const downStart = performance.now()
      for await (const chunk of await sandbox.files.readStream('/tmp/big')) {
        received.update(chunk)
        receivedBytes += chunk.length
      }
      const downMs = performance.now() - downStart
      expect({ receivedBytes, hash: received.digest('hex') }).toEqual({ receivedBytes: fileBytes, hash })

      const grew = {
        daemon: residentBytes(stack.pid).peak - before.daemon,
        shim: residentBytes(shim.pid).peak - before.shim,
      }
      const usage = await askShim(machineFolder(stack, sandbox.id), { do: 'usage' })
      console.log(
        `1 GiB (${runtime}): up ${rate(upMs)}, down ${rate(downMs)} MiB/s; daemon +${mib(grew.daemon)}, ` +
          `shim +${mib(grew.shim)} MiB; sandbox peak ${mib(Number(usage['memoryPeakBytes']))} MiB`,
      )
      expect(grew.daemon).toBeLessThan(daemonGrowthBytes)
      expect(grew.shim).toBeLessThan(shimGrowthBytes)
      const metrics = await sandbox.metrics()
      expect(metrics.oomKills).toBe(0)
      expect(metrics.agent.residentBytes).toBeLessThan(16 * 1024 ** 2)
      await deleteSandbox(stack, sandbox.id)
      expect(await drill.difference()).toEqual({})
    },
  )

  it.each(realRuntimes)(
    'that is cut off leaves the old file whole and nothing beside it (%s)',
    async (runtime) => {
      const { stack } = drill
      const sandbox = await stack.atoll.sandboxes.create({ runtime, limits: { memoryMib, diskMib: 1_024 } })
      await sandbox.files.write('kept/file', 'the old content', { parents: true })
      const cut = new AbortController()
      let sentBytes = 0
      const uploading = sandbox.files
        .write(
          'kept/file',
          body(fileBytes, (chunk) => (sentBytes += chunk.length), 2),
          { signal: cut.signal },
        )
        .then(
          () => 'written',
          () => 'cut',
        )
      await until('64 MiB are on their way', 20_000, () => (sentBytes > 64 * 1024 ** 2 ? true : undefined))
      cut.abort()
      expect(await uploading).toBe('cut')
      expect(await sandbox.files.readText('kept/file')).toBe('the old content')
      // The agent learns of the cut when the stream's reset arrives: a moment later at most.
      await until('the partial file is gone', 5_000, async () => {
        const { entries } = await sandbox.files.list('kept')
        return entries.length === 1 ? true : undefined
      })
      const metrics = await sandbox.metrics()
      expect(metrics.disk.usedBytes).toBeLessThan(32 * 1024 ** 2)
      await deleteSandbox(stack, sandbox.id)
    },
  )
})

const body = (
  bytes: number,
  onChunk: (chunk: Uint8Array) => unknown,
  pauseMs = 0,
): ReadableStream<Uint8Array> => {
  let index = 0
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (index * chunkBytes >= bytes) return controller.close()
        const chunk = chunkAt(index++)
        onChunk(chunk)
        controller.enqueue(chunk)
        if (pauseMs > 0) await delay(pauseMs)
      },
    },
    { highWaterMark: 1 },
  )
}

const rate = (ms: number): string => (fileBytes / 1024 ** 2 / (ms / 1000)).toFixed(0)
const mib = (bytes: number): string => (bytes / 1024 ** 2).toFixed(1)
