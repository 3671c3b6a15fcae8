import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBase } from './ensure-base.ts'
import { openImageStore } from './image-store.ts'
import { rootfsPath } from './open-image.ts'
import type { ImageProgress } from './progress.ts'

const usage = 'usage: node node/src/images/main.ts ensure-base [--data DIR] [--agent FILE] [--unpacker FILE]'

const repository = resolve(import.meta.dirname, '../../..')
const release = 'target/x86_64-unknown-linux-gnu/release'

const main = async (): Promise<void> => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      data: { type: 'string', default: '/var/lib/atoll' },
      agent: { type: 'string', default: join(repository, 'guest', release, 'atoll-agent') },
      unpacker: { type: 'string', default: join(repository, 'node/unpacker', release, 'atoll-unpack') },
    },
  })
  if (positionals.length !== 1 || positionals[0] !== 'ensure-base') throw new Error(usage)
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.once(name, () => stop.abort(new Error(`ended by ${name}`)))
  const store = await openImageStore({
    dataDirectory: values.data,
    unpackerPath: values.unpacker,
    agentPath: values.agent,
  })
  const record = await ensureBase(store, report, stop.signal)
  const path = rootfsPath(store, record.rootfs.digest)
  process.stdout.write(
    `${JSON.stringify({ digest: record.digest, path, sizeBytes: record.rootfs.sizeBytes })}\n`,
  )
}

const report = (progress: ImageProgress): void => {
  const text = progress.text ?? `${progress.stage} ${progress.subject}`
  for (const line of text.split('\n')) {
    // apt's own lines are thousands; those of mmdebstrap and of ours say where it stands.
    if (progress.stage !== 'bootstrap' || line.startsWith('I:') || line.startsWith('E:')) {
      process.stderr.write(`${line}\n`)
    }
  }
}

await main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
