import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Atoll, type Sandbox } from '@atoll/sdk'
import { bareHops } from '../bare-hops.ts'
import { type Benchmark, interleaved, row } from '../measure.ts'

const sizeMib = 256
const chunk = new Uint8Array(1024 * 1024).fill(120)

/**
 * MiB/s of one big file each way, against the same bytes over a raw unix socket to another process, and against the
 * hops of the way alone: what four processes cost on this machine before Atoll does anything.
 */
export const files: Benchmark = {
  name: 'files',
  about: `a ${sizeMib} MiB file into and out of a sandbox; against a raw unix socket and the bare hops`,
  async run({ url, apiKey, samples }) {
    const atoll = new Atoll({ baseUrl: url, apiKey })
    await using sandbox = await atoll.sandboxes.create({
      runtime: 'gvisor',
      limits: { memoryMib: 2_048, diskMib: 2_048 },
    })
    await using bare = await bareHops(sizeMib * chunk.length, sandbox.info)
    const write = (to: Sandbox) => () =>
      perSecond(async () => {
        const written = await to.files.write('/home/user/big', stream())
        if (written.size !== sizeMib * chunk.length) throw new Error(`${written.size} bytes are there`)
      })
    const read = (from: Sandbox) => () =>
      perSecond(async () => {
        let bytes = 0
        for await (const part of await from.files.readStream('/home/user/big')) bytes += part.length
        if (bytes !== sizeMib * chunk.length) throw new Error(`read ${bytes} bytes`)
      })
    const acts = [rawSocket, write(bare.sandbox), read(bare.sandbox), write(sandbox), read(sandbox)]
    const [raw = [], bareIn = [], bareOut = [], writes = [], reads = []] = await interleaved(
      Math.max(3, Math.floor(samples / 4)),
      acts,
    )
    const baseline = row('raw unix socket', 'MiB/s', raw)
    const hopsIn = row('the hops without Atoll, in', 'MiB/s', bareIn, baseline)
    const hopsOut = row('the hops without Atoll, out', 'MiB/s', bareOut, baseline)
    return [
      baseline,
      hopsIn,
      hopsOut,
      row('write a file', 'MiB/s', writes, baseline),
      row('write a file, against its hops', 'MiB/s', writes, hopsIn),
      row('read a file', 'MiB/s', reads, baseline),
      row('read a file, against its hops', 'MiB/s', reads, hopsOut),
    ]
  },
}

const perSecond = async (act: () => Promise<void>): Promise<number> => {
  const start = performance.now()
  await act()
  return sizeMib / ((performance.now() - start) / 1_000)
}

const stream = (): ReadableStream<Uint8Array> => {
  let left = sizeMib
  return new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(chunk.slice())
      else controller.close()
    },
  })
}

/** The other end is a process of its own, as the daemon is: both ends in one would flatter us. */
const sink = `
  let bytes = 0
  require('node:net').createServer((peer) => peer.on('data', (data) => { bytes += data.length }).on('end', () => peer.end(String(bytes))))
    .listen(process.argv[1], () => console.log('ready'))`

const rawSocket = async (): Promise<number> => {
  const folder = await mkdtemp('/tmp/atoll-raw-')
  const path = join(folder, 's')
  const child = spawn(process.execPath, ['-e', sink, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(child.stdout, 'data')
    return await perSecond(async () => {
      const socket = connect(path)
      await once(socket, 'connect')
      for (let index = 0; index < sizeMib; index++) if (!socket.write(chunk)) await once(socket, 'drain')
      socket.end()
      const [answer] = await once(socket, 'data')
      if (Number(answer) !== sizeMib * chunk.length) throw new Error(`the raw socket carried ${answer} bytes`)
    })
  } finally {
    child.kill()
    await rm(folder, { recursive: true, force: true })
  }
}
