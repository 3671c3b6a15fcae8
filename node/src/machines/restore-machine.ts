import { AtollError } from '@atoll/protocol'
import { askHealth } from '../guest/calls.ts'
import { beginMachine, type Begun, freeMachine, settleMachine } from '../pool/begin.ts'
import { type MachineKey, shelfOf, type Unclaimed, type WaitingBlank } from '../pool/state.ts'
import { unclaimedOf } from '../pool/unclaimed.ts'
import type {
  CpuWeight,
  Machine,
  MachineImage,
  MachineLimits,
  MachineSpec,
  RuntimeDriver,
} from '../runtimes/driver.ts'
import { closeOnAbort, round, stages, uidBaseOf } from './boot.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'

/** What a machine is made of. Identity comes later, at its adoption. */
export interface MachinePlan {
  readonly driver: RuntimeDriver
  readonly imageDigest: string
  /** Absolute path of the template's EROFS file; empty for `simulated`. */
  readonly imagePath: string
  readonly limits: MachineLimits
  readonly hostname: string
  /** What the host does when no daemon acts; null for one that nobody owns yet. */
  readonly deadline: { readonly unixMs: number; readonly action: 'kill' | 'freeze' } | null
  /** `normal` where it is not given. */
  readonly weight?: CpuWeight
}

/** A machine that comes from a memory image. */
export interface RestorePlan extends MachinePlan {
  readonly image: MachineImage
  /** False leaves the blanks of the pool to those that someone waits for. */
  readonly takesBlank?: boolean
}

/** The key of a plan. */
export const planKey = ({
  driver,
  imageDigest,
  limits,
}: Pick<MachinePlan, 'driver' | 'imageDigest' | 'limits'>): MachineKey => ({
  runtime: driver.name,
  imageDigest,
  diskMib: Math.round(limits.diskBytes / 1024 ** 2),
})

/**
 * Restores a memory image into a machine of its own, in a blank of the pool where one waits, and resolves when
 * its guest answers. The guest is as it was saved: quiesced, and the caller adopts and continues it. Until a
 * sandbox's record names `machineId` (with `slot` and `machine`), disposing destroys it.
 */
export const restoreMachine = async (
  context: Context,
  plan: RestorePlan,
  signal: AbortSignal,
): Promise<Unclaimed> => {
  signal.throwIfAborted()
  const { stage, timings } = stages(context)
  const waiting = takeBlank(context, plan)
  const place = waiting ?? (await beginBlank(context, plan, signal))
  if (waiting === undefined) stage('blankMs')
  try {
    const machine = await place.blank.restore(plan.image, signal)
    stage('restoreMs')
    settleMachine(context, place.machineId, 'begun', machine.record)
    const { deadline } = plan
    if (waiting !== undefined) await machine.resize(resizable(plan), signal)
    if (deadline !== null && (waiting !== undefined || deadline.action !== 'kill'))
      await machine.setDeadline(deadline.unixMs, deadline.action, signal)
    if (waiting !== undefined) stage('resizeMs')
    return await answering(context, place, machine, timings, signal)
  } catch (error) {
    await freeMachine(context, place.machineId, place.blank)
    throw error
  }
}

/** What can be given to a machine that was made before its limits were known. */
export const resizable = ({ limits, weight = 'normal' }: Pick<MachinePlan, 'limits' | 'weight'>) => {
  const { cpuMillis, memoryBytes, processes } = limits
  return { cpuMillis, memoryBytes, processes, weight }
}

/** The plan in its place, for the driver. */
export const specOf = (
  { imagePath, limits, hostname, deadline, weight = 'normal' }: MachinePlan,
  { machineId, slot, directory }: Begun,
): MachineSpec => ({
  id: machineId,
  directory,
  imagePath,
  hostname,
  limits,
  weight,
  uidBase: uidBaseOf(slot),
  deadlineUnixMs: deadline?.action === 'kill' ? deadline.unixMs : null,
})

/** Waits for the guest's first answer; on failure the machine is freed by the caller. */
export const answering = async (
  context: Context,
  place: { readonly machineId: string; readonly slot: number },
  machine: Machine,
  timings: Record<string, number>,
  signal: AbortSignal,
): Promise<Unclaimed> => {
  const began = context.clock.monotonic()
  const unclaimed = unclaimedOf(context, place, machine, timings)
  using _giveUp = closeOnAbort(signal, unclaimed.guest, `machine ${place.machineId} was given up`)
  try {
    await askHealth(unclaimed.guest, machineLimits.guestReadyMs)
    signal.throwIfAborted()
  } catch (error) {
    unclaimed.guest.close(new AtollError('guest_unreachable', `machine ${place.machineId} was given up`))
    throw error
  }
  timings['guestMs'] = round(context.clock.monotonic() - began)
  for (const [name, ms] of Object.entries(machine.timings)) timings[`machine.${name}`] = round(ms)
  return unclaimed
}

/** A blank has the memory of a default sandbox: an image that could fill it gets a place of its own size. */
const takeBlank = (context: Context, plan: RestorePlan): WaitingBlank | undefined => {
  if (plan.takesBlank === false) return undefined
  const bytes = plan.image.files.reduce((sum, file) => sum + file.bytes, 0)
  if (bytes > machineLimits.blankMemoryBytes / 2) return undefined
  const waiting = shelfOf(context.pool, planKey(plan)).blanks.pop()
  if (waiting !== undefined) context.pool.wake()
  return waiting
}

/** A new blank, in a place that is recorded first. */
export const beginBlank = async (
  context: Context,
  plan: MachinePlan,
  signal: AbortSignal,
): Promise<WaitingBlank> => {
  const begun = await beginMachine(context, planKey(plan))
  try {
    const blank = await plan.driver.blank(specOf(plan, begun), signal)
    settleMachine(context, begun.machineId, 'begun', blank.record)
    return { ...begun, blank }
  } catch (error) {
    await freeMachine(context, begun.machineId)
    throw error
  }
}
