import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { AtollError, type SnapshotKind } from '@atoll/protocol'
import { readLayer } from '../guest/layer.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { SnapshotOwner, SnapshotRecord } from '../records/snapshots.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { saveSnapshot } from '../snapshots/save.ts'
import { machineLimitsOf, round } from './boot.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'
import type { Runtime } from './runtimes.ts'
import { breakOff, type StandStill, standStill } from './stand-still.ts'

/** A machine that is captured, with what it is. */
export interface Subject {
  readonly record: SandboxRecord
  readonly live: Live
  readonly runtime: Runtime
}

/** Refuses what this runtime cannot save, before anything stands still. */
export const refuseUnsupportedCapture = (
  { driver, capabilities }: Runtime,
  kind: SnapshotKind,
  act: string,
): void => {
  if (kind === 'memory' && !capabilities.memorySnapshot)
    throw new AtollError('unsupported', `${act}: runtime ${driver.name} cannot save memory`, {
      remedy:
        capabilities.diskSnapshot === 'none'
          ? 'use a runtime whose notes say that it can'
          : 'ask for a snapshot of kind disk, or use a runtime that saves memory',
    })
  if (kind === 'disk' && capabilities.diskSnapshot === 'none')
    throw new AtollError('unsupported', `${act}: runtime ${driver.name} cannot save a disk alone`, {
      remedy: capabilities.memorySnapshot ? 'ask for kind memory' : 'use another runtime',
    })
}

/** Writes the state of a guest that stands still into an empty folder. */
export const writeState = async (
  { record, live, runtime }: Subject,
  kind: SnapshotKind,
  folder: string,
  signal: AbortSignal,
): Promise<MachineImage> => {
  if (kind === 'memory' || runtime.capabilities.diskSnapshot === 'host')
    return await live.machine.checkpoint(folder, kind, signal)
  const { diskBytes } = machineLimitsOf(record)
  const name = 'layer.tar'
  const path = join(folder, name)
  const body = bounded(record.id, await readLayer(live.guest, signal), 2 * diskBytes)
  const file = createWriteStream(path, { flags: 'wx', mode: 0o600 })
  await pipeline(body, file, { signal })
  return {
    kind,
    runtime: runtime.driver.name,
    version: live.machine.record.version,
    diskBytes,
    files: [{ name, path, bytes: file.bytesWritten }],
  }
}

/** The guest says how much it is: its disk's size twice bounds it, since a sparse file is written in full. */
const bounded = async function* (
  id: string,
  body: AsyncIterable<Uint8Array>,
  diskBytes: number,
): AsyncGenerator<Uint8Array> {
  const mostBytes = diskBytes + machineLimits.layerOverheadBytes
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.byteLength
    if (bytes > mostBytes)
      throw new AtollError(
        'payload_too_large',
        `cannot save the files of ${id}: as an archive, with sparse files in full, they take more than ${mostBytes} bytes; remove some`,
      )
    yield chunk
  }
}

/** A saved state, its row not yet in the records; the guest stands still where it is to end. */
export interface Captured {
  readonly row: SnapshotRecord
  readonly pausedMs: number
  readonly still: StandStill
}

/** What is saved, and for whom. */
export interface CaptureOrder {
  readonly id: string
  readonly owner: SnapshotOwner
  readonly kind: SnapshotKind
  /** `goOn`: continued as soon as its state is written. Else it is left standing, cut off from its callers. */
  readonly after: 'goOn' | 'pause' | 'stop'
}

/**
 * Saves the state of a machine durably. On failure nothing of it is left and the guest goes on, whatever was
 * asked for afterwards.
 */
export const capture = async (
  context: Context,
  subject: Subject,
  { id, owner, kind, after }: CaptureOrder,
  signal: AbortSignal,
): Promise<Captured> => {
  const { record, live, runtime } = subject
  await using stack = new AsyncDisposableStack()
  const held: { still?: StandStill; pausedMs: number } = { pausedMs: 0 }
  const write = async (folder: string): Promise<MachineImage> => {
    const began = context.clock.monotonic()
    const still = stack.use(await standStill(context, live))
    held.still = still
    if (after !== 'goOn') breakOff(context, live, after === 'pause' ? 'paused' : 'stopped')
    const image = await writeState(subject, kind, folder, signal)
    signal.throwIfAborted()
    held.pausedMs = after === 'goOn' ? await still.goOn() : context.clock.monotonic() - began
    return image
  }
  const what = { imageDigest: record.spec.imageDigest, what: `the state of ${record.id}` }
  const saved = await saveSnapshot(context, what, write, { durable: true }, signal)
  const { still, pausedMs } = held
  if (still === undefined) throw new AtollError('internal', `cannot save ${record.id}: nothing was written`)
  stack.move()
  return {
    row: {
      id,
      owner,
      kind,
      digest: saved.digest,
      sandbox: record.id,
      imageDigest: record.spec.imageDigest,
      sizeBytes: saved.sizeBytes,
      detail: {
        isolation: { ...record.isolation, version: runtime.capabilities.version },
        limits: record.spec.limits,
        pausedMs: round(pausedMs),
        generation: record.generation,
      },
      createdAtMs: context.clock.now(),
    },
    pausedMs,
    still,
  }
}
