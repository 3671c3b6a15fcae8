import { sandboxLimits, type SandboxLimits } from '@atoll/protocol'
import { bootMachine } from '../machines/boot-machine.ts'
import type { Context } from '../machines/context.ts'
import { openImage } from '../machines/open-image.ts'
import type { MachinePlan } from '../machines/restore-machine.ts'
import { isolationOf, type Runtime } from '../machines/runtimes.ts'
import type { SnapshotRecord } from '../records/snapshots.ts'
import type { MachineLimits } from '../runtimes/driver.ts'
import { type OpenedSnapshot, openSnapshot } from '../snapshots/open.ts'
import { forgetSnapshot } from '../snapshots/remove.ts'
import { saveSnapshot } from '../snapshots/save.ts'
import { addMember } from './add-member.ts'
import { poolLimits } from './limits.ts'
import { keyText, type MachineKey } from './state.ts'

/** The id of a template snapshot's row: one for each key. */
export const templateId = (key: MachineKey): string => `template:${keyText(key)}`

const hostname = 'sandbox'

/** Limits of a machine that nobody asked for yet: those of a default sandbox, with this disk. */
export const unclaimedLimits = (diskMib: number): SandboxLimits => ({
  cpuMillis: sandboxLimits.cpuMillis.default,
  memoryMib: sandboxLimits.memoryMib.default,
  diskMib,
  processes: sandboxLimits.processes.default,
  openFiles: sandboxLimits.openFiles.default,
})

const inBytes = ({ memoryMib, diskMib, ...limits }: SandboxLimits): MachineLimits => ({
  ...limits,
  memoryBytes: memoryMib * 1024 ** 2,
  diskBytes: diskMib * 1024 ** 2,
})

/** The plan of a machine that waits for whoever claims it. */
export const unclaimedPlan = async (
  context: Context,
  runtime: Runtime,
  { imageDigest, diskMib }: MachineKey,
  signal: AbortSignal,
): Promise<MachinePlan> => ({
  driver: runtime.driver,
  imageDigest,
  imagePath: await openImage(context, runtime, imageDigest, signal),
  hostname,
  weight: 'background',
  limits: inBytes(unclaimedLimits(diskMib)),
  deadline: null,
})

/**
 * The template's snapshot, verified; undefined where there is none yet. One that no longer fits, or is damaged,
 * is removed: it can be made anew.
 */
export const openTemplate = async (
  context: Context,
  runtime: Runtime,
  key: MachineKey,
  signal: AbortSignal,
): Promise<OpenedSnapshot | undefined> => {
  const row = context.records.snapshots.get(templateId(key))
  if (row === undefined) return undefined
  try {
    const host = { runtime: runtime.driver.name, runtimeVersion: runtime.capabilities.version }
    return await openSnapshot(context.snapshots, row.digest, host, signal)
  } catch (error) {
    signal.throwIfAborted()
    context.logger.warn({ snapshot: row.id, err: error }, 'a template snapshot does not fit and is made anew')
    await forgetSnapshot(context, row.id)
    return undefined
  }
}

/**
 * Boots the template once and saves it before it has an identity; the machine itself joins the pool, so that
 * whoever waited takes it. Single flight: callers of the same time share one. Rejects when it cannot be had.
 */
export const makeTemplate = (context: Context, runtime: Runtime, key: MachineKey): Promise<void> => {
  const text = keyText(key)
  const under = context.pool.making.get(text)
  if (under !== undefined) return under
  const made = make(context, runtime, key)
    .catch((error: unknown) => {
      context.pool.refused.set(text, context.clock.monotonic() + poolLimits.templateRetryMs)
      throw error
    })
    .finally(() => context.pool.making.delete(text))
  context.pool.making.set(text, made)
  // Those who wait are told; nobody may be waiting.
  made.catch((error: unknown) => {
    if (!context.closing.aborted)
      context.logger.warn({ template: text, err: error }, 'a template snapshot could not be made')
  })
  return made
}

const make = async (context: Context, runtime: Runtime, key: MachineKey): Promise<void> => {
  const signal = AbortSignal.any([context.closing, AbortSignal.timeout(poolLimits.fillMs)])
  await using stack = new AsyncDisposableStack()
  const unclaimed = stack.use(
    await bootMachine(context, await unclaimedPlan(context, runtime, key, signal), signal),
  )
  const saved = await saveSnapshot(
    context,
    { imageDigest: key.imageDigest, what: `the template ${keyText(key)}` },
    (folder) => unclaimed.machine.checkpoint(folder, 'memory', signal),
    // It can be made anew: a power cut in the middle is found by its hashes.
    { durable: false },
    signal,
  )
  const row: SnapshotRecord = {
    id: templateId(key),
    owner: 'template',
    digest: saved.digest,
    kind: 'memory',
    sandbox: null,
    imageDigest: key.imageDigest,
    sizeBytes: saved.sizeBytes,
    detail: {
      isolation: isolationOf(runtime),
      limits: unclaimedLimits(key.diskMib),
      pausedMs: 0,
      generation: 0,
    },
    createdAtMs: context.clock.now(),
  }
  await forgetSnapshot(context, row.id)
  context.records.snapshots.insert(row)
  await addMember(context, key, unclaimed, signal)
  stack.move()
  await forgetOldTemplates(context)
}

/** Each image and disk size has a snapshot of its own: the oldest go. */
const forgetOldTemplates = async (context: Context): Promise<void> => {
  const rows = context.records.snapshots.ofOwner('template')
  for (const { id } of rows.slice(0, Math.max(0, rows.length - poolLimits.templates)))
    await forgetSnapshot(context, id)
}

/** False where the runtime has no memory snapshots, where they are turned off, or after one could not be had. */
export const mayHaveTemplate = (context: Context, runtime: Runtime, key: MachineKey): boolean =>
  context.options.templateSnapshots &&
  runtime.capabilities.memorySnapshot &&
  (context.pool.refused.get(keyText(key)) ?? 0) <= context.clock.monotonic()
