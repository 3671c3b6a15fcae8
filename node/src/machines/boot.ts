import { mkdir } from 'node:fs/promises'
import { AtollError, type Lease } from '@atoll/protocol'
import { askAdopt, askHealth, type Adopted, type Identity } from '../guest/calls.ts'
import { type GuestConnection, guestConnection } from '../guest/connection.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Machine, MachineImage, MachineLimits, RuntimeDriver } from '../runtimes/driver.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'
import { reportReach } from './reach.ts'
import { directoryOf } from './sandbox-directory.ts'
import { runStartCommand } from './start-command.ts'

/** Bytes of entropy that a guest gets of its own (invariant 12). */
const entropyBytes = 64

/** Why a guest gets an identity. */
export type AdoptReason = Identity['reason']

/**
 * Starts the machine of a record in the folder and slot that the record already has, and gives its guest an
 * identity; on failure nothing of it is left running.
 */
export const boot = async (
  context: Context,
  driver: RuntimeDriver,
  record: SandboxRecord,
  imagePath: string,
  signal: AbortSignal,
  disk?: MachineImage,
): Promise<{ live: Live; timings: Record<string, number> }> => {
  const { stage, timings } = stages(context)
  const { machineId, slot } = record
  if (machineId === null || slot === null)
    throw new AtollError('internal', `cannot start ${record.id}: its record has no machine`)
  await using stack = new AsyncDisposableStack()
  const directory = directoryOf(context, machineId)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const spec = {
    id: machineId,
    directory,
    imagePath,
    hostname: record.spec.hostname,
    limits: machineLimitsOf(record),
    uidBase: uidBaseOf(slot),
    deadlineUnixMs: hostDeadlineOf(record.lease).unixMs,
  }
  const machine = stack.use(await driver.start(spec, signal, disk))
  const { unixMs, action } = hostDeadlineOf(record.lease)
  if (action !== 'kill') await machine.setDeadline(unixMs, action, signal)
  stage('startMs')
  const live = stack.adopt(liveOf(context, record.id, machine), ({ guest }) =>
    guest.close(new AtollError('guest_unreachable', `the start of ${record.id} failed`)),
  )
  using _giveUp = closeOnAbort(signal, live.guest, `the start of ${record.id} was given up`)
  await askHealth(live.guest, machineLimits.guestReadyMs)
  stage('guestMs')
  signal.throwIfAborted()
  await adopt(context, live.guest, record, 'create')
  stage('adoptMs')
  await runStartCommand(live.guest, record.spec, signal)
  stage('readyMs')
  signal.throwIfAborted()
  stack.move()
  for (const [name, ms] of Object.entries(machine.timings)) timings[`machine.${name}`] = round(ms)
  return { live, timings }
}

/** Names the time since the last stage, or since it was made. */
export const stages = (context: Context) => {
  const timings: Record<string, number> = {}
  let last = context.clock.monotonic()
  const stage = (name: string): void => {
    const now = context.clock.monotonic()
    timings[name] = round(now - last)
    last = now
  }
  return { stage, timings }
}

/** Milliseconds to the microsecond. */
export const round = (ms: number): number => Math.round(ms * 1_000) / 1_000

/** Whoever gives a start up must not wait for a guest that says nothing. */
export const closeOnAbort = (signal: AbortSignal, guest: GuestConnection, message: string): Disposable => {
  const giveUp = (): void => guest.close(new AtollError('canceled', message))
  signal.addEventListener('abort', giveUp, { once: true })
  if (signal.aborted) giveUp()
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', giveUp) }
}

/** A machine with its channel: a new one, or that of a machine that waited in the pool. */
export const liveOf = (
  context: Context,
  id: string,
  machine: Machine,
  guest: GuestConnection = guestOf(context, machine, () => id),
): Live => ({
  id,
  machine,
  guest,
  exchanges: new Set(),
  lastHeldMs: context.clock.now(),
  standing: false,
  quiet: undefined,
  storeNotBeforeMs: 0,
})

/** The channel to a machine's guest; `owner` names the sandbox once it has one. */
export const guestOf = (
  context: Context,
  machine: Machine,
  owner: () => string | undefined,
): GuestConnection =>
  guestConnection(
    (signal) => machine.connectGuest(signal),
    () => (context.random(1)[0] ?? 0) / 256,
    (fault) => {
      const id = owner()
      if (id !== undefined) reportReach(context, id, fault)
    },
  )

/** The first host id of a slot's range. */
export const uidBaseOf = (slot: number): number => machineLimits.uidFirst + machineLimits.uidsPerSlot * slot

/** When the host acts without us, and how: what the lease would keep is kept. */
export const hostDeadlineOf = (lease: Lease): { unixMs: number; action: 'kill' | 'freeze' } => ({
  unixMs: lease.expiresAtMs + machineLimits.hostDeadlineGraceMs,
  action: lease.onTimeout === 'delete' ? 'kill' : 'freeze',
})

/** The limits of a record in the units of the port. */
export const machineLimitsOf = ({ spec: { limits } }: Pick<SandboxRecord, 'spec'>): MachineLimits => ({
  cpuMillis: limits.cpuMillis,
  memoryBytes: limits.memoryMib * 1024 ** 2,
  diskBytes: limits.diskMib * 1024 ** 2,
  processes: limits.processes,
  openFiles: limits.openFiles,
})

/**
 * Gives the guest the identity of the record and believes only what it answers (invariant 12). The generation
 * is the record's: who restores a guest raises it first.
 */
export const adopt = async (
  context: Context,
  guest: GuestConnection,
  record: Pick<SandboxRecord, 'id' | 'spec' | 'generation'>,
  reason: AdoptReason,
): Promise<void> => {
  const { spec } = record
  const limits = machineLimitsOf(record)
  const identity: Identity = {
    sandboxId: record.id,
    generation: record.generation,
    reason,
    hostname: spec.hostname,
    timeUnixMs: context.clock.now(),
    entropy: Buffer.from(context.random(entropyBytes)).toString('base64'),
    env: spec.env,
    limits: {
      memoryBytes: limits.memoryBytes,
      processes: limits.processes,
      diskBytes: limits.diskBytes,
      openFiles: limits.openFiles,
      cpuCount: Math.max(1, Math.ceil(limits.cpuMillis / 1_000)),
    },
    defaultUser: spec.user,
    workdir: spec.workdir,
  }
  const adopted = await askAdopt(guest, identity, machineLimits.guestReadyMs)
  const wrong = mismatch(identity, adopted)
  if (wrong !== undefined)
    throw new AtollError('internal', `cannot adopt ${record.id}: the guest answers ${wrong}; it is destroyed`)
}

const mismatch = (wanted: Identity, adopted: Adopted): string | undefined => {
  if (adopted.sandboxId !== wanted.sandboxId) return 'another id'
  if (adopted.hostname !== wanted.hostname) return 'another hostname'
  if (Math.abs(adopted.clockSkewMs) > machineLimits.clockSkewMs)
    return `a clock that is ${adopted.clockSkewMs} ms off`
  if (adopted.limits.memoryBytes !== wanted.limits.memoryBytes) return 'another limit of memory'
  if (adopted.limits.processes !== wanted.limits.processes) return 'another limit of processes'
  return undefined
}
