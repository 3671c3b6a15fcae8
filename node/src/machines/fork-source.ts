import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { temporaryPrefix } from '../snapshots/store.ts'
import { round } from './boot.ts'
import { writeState } from './capture.ts'
import type { Context } from './context.ts'
import type { Source } from './fork-child.ts'
import { liveOfRecord } from './freeze.ts'
import { openFor } from './make-machine.ts'
import type { Runtime } from './runtimes.ts'
import { standStill } from './stand-still.ts'
import { thawed } from './thawed.ts'

/** The state that children are made of: captured now, or what a stored parent is saved as. */
export const openForkSource = async (
  context: Context,
  record: SandboxRecord,
  signal: AbortSignal,
): Promise<Source> => {
  const runtime = await context.runtimes.choose(record.runtime)
  if (record.state === 'running' || (record.state === 'paused' && record.depth === 'frozen'))
    return await captureOnce(context, record, runtime, signal)
  const row = record.saved === null ? undefined : context.records.snapshots.get(record.saved)
  if (record.state !== 'paused' || row === undefined)
    throw new AtollError('state_conflict', `cannot fork ${record.id}: it is ${record.state}`, {
      sandboxState: record.state,
      ...(record.state === 'stopped' ? { remedy: 'start it first' } : {}),
    })
  const opened = await openFor(context, runtime, row, signal)
  return {
    runtime,
    generation: Math.max(record.generation, row.detail.generation),
    image: opened.image,
    pausedMs: 0,
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  }
}

/**
 * Files that only the children read, in a folder of their own that nobody else may open and that goes after them:
 * neither hashed nor synced, and swept with the store's leftovers should this daemon die.
 */
const captureOnce = async (
  context: Context,
  record: SandboxRecord,
  runtime: Runtime,
  signal: AbortSignal,
): Promise<Source> => {
  const live = liveOfRecord(context, record, 'cannot fork')
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(context.snapshots.folder, `${temporaryPrefix}fork-`))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const write = async (): Promise<{ image: MachineImage; pausedMs: number }> => {
    await using still = await standStill(context, live)
    const image = await writeState({ record, live, runtime }, 'memory', folder, signal)
    return { image, pausedMs: await still.goOn() }
  }
  const { image, pausedMs } = await thawed(context, record, live, write, signal)
  signal.throwIfAborted()
  const kept = stack.move()
  return {
    runtime,
    generation: record.generation,
    image,
    pausedMs: record.state === 'running' ? round(pausedMs) : 0,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
