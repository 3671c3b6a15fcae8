import { createReadStream } from 'node:fs'
import { AtollError } from '@atoll/protocol'
import { askContinue } from '../guest/calls.ts'
import type { GuestConnection } from '../guest/connection.ts'
import { putLayer } from '../guest/layer.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { SnapshotRecord } from '../records/snapshots.ts'
import type { MachineImage } from '../runtimes/driver.ts'
import { type OpenedSnapshot, openSnapshot } from '../snapshots/open.ts'
import { adopt, hostDeadlineOf, machineLimitsOf, round } from './boot.ts'
import type { Obtained, Prepare } from './claim.ts'
import type { Context } from './context.ts'
import { machineLimits } from './limits.ts'
import { obtainMachine, type ObtainPlan } from './obtain.ts'
import { openImage } from './open-image.ts'
import { restoreMachine } from './restore-machine.ts'
import type { Runtime } from './runtimes.ts'
import { runStartCommand } from './start-command.ts'

/** The sandbox that a machine is made for. */
export type Owner = Pick<SandboxRecord, 'id' | 'spec' | 'lease' | 'generation'>

/** A new machine with the identity of its sandbox, from the template or from a snapshot. */
export const makeMachine = async (
  context: Context,
  runtime: Runtime,
  owner: Owner,
  snapshot: SnapshotRecord | undefined,
  signal: AbortSignal,
): Promise<Obtained> => {
  const adopting = adoption(context, owner)
  const obtain = async (plan: ObtainPlan, prepare: Prepare): Promise<Obtained> =>
    await started(context, owner, await obtainMachine(context, plan, prepare, signal), signal)
  if (snapshot === undefined) return await obtain(wanted(runtime, owner), adopting)
  await using opened = await openFor(context, runtime, snapshot, signal)
  if (snapshot.kind === 'memory') return await fromMemory(context, runtime, owner, opened, signal)
  if (runtime.capabilities.diskSnapshot === 'host')
    return await obtain({ ...wanted(runtime, owner), disk: opened.image }, adopting)
  const prepare: Prepare = async (unclaimed, timings) => {
    const began = context.clock.monotonic()
    await layLayer(unclaimed.guest, opened.image, signal)
    timings['layerMs'] = round(context.clock.monotonic() - began)
    await adopting(unclaimed, timings)
  }
  // As long as its bytes take; the caller's own deadline stands around it.
  return await obtain({ ...wanted(runtime, owner), prepareMs: machineLimits.captureMs }, prepare)
}

/** A guest that begins anew starts what its template says; one whose memory came back has it running. */
const started = async (
  context: Context,
  { spec }: Owner,
  obtained: Obtained,
  signal: AbortSignal,
): Promise<Obtained> => {
  if (spec.start === null && spec.ready === null) return obtained
  const { unclaimed, timings } = obtained
  const began = context.clock.monotonic()
  try {
    await runStartCommand(unclaimed.guest, spec, signal)
  } catch (error) {
    await unclaimed[Symbol.asyncDispose]()
    throw error
  }
  return { unclaimed, timings: { ...timings, readyMs: round(context.clock.monotonic() - began) } }
}

const wanted = (runtime: Runtime, { id, spec, lease }: Owner) => ({
  runtime,
  what: id,
  imageDigest: spec.imageDigest,
  hostname: spec.hostname,
  limits: machineLimitsOf({ spec }),
  deadline: hostDeadlineOf(lease),
})

const adoption =
  (context: Context, owner: Owner): Prepare =>
  async ({ guest }, timings) => {
    const began = context.clock.monotonic()
    await adopt(context, guest, owner, 'create')
    timings['adoptMs'] = round(context.clock.monotonic() - began)
  }

/** The files of a disk snapshot, laid over a root that nobody has used yet. */
export const layLayer = async (
  guest: GuestConnection,
  { files }: MachineImage,
  signal: AbortSignal,
): Promise<void> => {
  for (const { path, bytes } of files) await putLayer(guest, createReadStream(path), bytes, signal)
}

/** A snapshot's files, verified, for this runtime as it was probed. */
export const openFor = (
  context: Context,
  { driver, capabilities }: Runtime,
  { digest }: Pick<SnapshotRecord, 'digest'>,
  signal: AbortSignal,
): Promise<OpenedSnapshot> =>
  openSnapshot(
    context.snapshots,
    digest,
    { runtime: driver.name, runtimeVersion: capabilities.version },
    signal,
  )

/** Memory comes back with its processes: they go on only when the copy has an identity of its own (invariant 12). */
const fromMemory = async (
  context: Context,
  runtime: Runtime,
  owner: Owner,
  { image }: OpenedSnapshot,
  signal: AbortSignal,
): Promise<Obtained> => {
  const imagePath = await openImage(context, runtime, owner.spec.imageDigest, signal)
  using place = await context.boots.enter(signal)
  if (place === undefined)
    throw new AtollError('overloaded', `cannot create ${owner.id}: too many are waiting; try again`)
  const plan = { ...wanted(runtime, owner), driver: runtime.driver, imagePath, image }
  const unclaimed = await restoreMachine(context, plan, signal)
  try {
    const timings = { ...unclaimed.timings }
    await adoption(context, owner)(unclaimed, timings)
    await askContinue(unclaimed.guest, machineLimits.guestReadyMs)
    signal.throwIfAborted()
    return { unclaimed, timings }
  } catch (error) {
    await unclaimed[Symbol.asyncDispose]()
    throw error
  }
}

/** The snapshot that a spec names, refused where it cannot be what the spec asks for. */
export const snapshotOf = (
  context: Context,
  { id, snapshot, imageDigest, limits }: SandboxRecord['spec'],
  runtime: Runtime,
): SnapshotRecord | undefined => {
  if (snapshot === null) return undefined
  const act = `cannot create ${id} from ${snapshot}`
  const row = context.records.snapshots.get(snapshot)
  if (row === undefined || row.owner !== 'user')
    throw new AtollError('not_found', `${act}: this node has no such snapshot`)
  if (row.imageDigest !== imageDigest)
    throw new AtollError(
      'invalid_request',
      `${act}: it stands on image ${row.imageDigest}, not ${imageDigest}`,
    )
  const taken = row.detail.isolation.runtime
  if (taken !== runtime.driver.name)
    throw new AtollError('snapshot_unfit', `${act}: it is of runtime ${taken}, not ${runtime.driver.name}`, {
      remedy: `ask for runtime ${taken}`,
    })
  const isFixed = row.kind === 'memory' || runtime.capabilities.diskSnapshot === 'host'
  if (isFixed && row.detail.limits.diskMib !== limits.diskMib)
    throw new AtollError(
      'invalid_request',
      `${act}: its disk has ${row.detail.limits.diskMib} MiB, which no restore can change; ask for that size`,
    )
  return row
}
