import { mkdir } from 'node:fs/promises'
import { AtollError } from '@atoll/protocol'
import { askAdopt, askHealth, type Adopted, type Identity } from '../guest/calls.ts'
import { guestConnection } from '../guest/connection.ts'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { MachineLimits, RuntimeDriver } from '../runtimes/driver.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'
import { reportReach } from './reach.ts'
import { directoryOf } from './sandbox-directory.ts'

/** Bytes of entropy that a guest gets of its own (invariant 12). */
const entropyBytes = 64

/** Starts the machine of a record and gives its guest an identity; on failure nothing of it is left running. */
export const boot = async (
  context: Context,
  driver: RuntimeDriver,
  record: SandboxRecord,
  imagePath: string,
  signal: AbortSignal,
): Promise<{ live: Live; timings: Record<string, number> }> => {
  const { clock } = context
  const timings: Record<string, number> = {}
  let last = clock.monotonic()
  const stage = (name: string): void => {
    const now = clock.monotonic()
    timings[name] = round(now - last)
    last = now
  }
  if (record.slot === null)
    throw new AtollError('internal', `cannot start ${record.id}: its record has no slot`)
  await using stack = new AsyncDisposableStack()
  const directory = directoryOf(context, record.id)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const machine = stack.use(
    await driver.start(
      {
        id: record.id,
        directory,
        imagePath,
        hostname: record.spec.hostname,
        limits: machineLimitsOf(record),
        uidBase: machineLimits.uidFirst + machineLimits.uidsPerSlot * record.slot,
        deadlineUnixMs: record.lease.expiresAtMs + machineLimits.hostDeadlineGraceMs,
      },
      signal,
    ),
  )
  stage('startMs')
  const live = stack.adopt(liveOf(context, record.id, machine), ({ guest }) =>
    guest.close(new AtollError('guest_unreachable', `the start of ${record.id} failed`)),
  )
  const giveUp = (): void =>
    live.guest.close(new AtollError('canceled', `the start of ${record.id} was given up`))
  signal.addEventListener('abort', giveUp, { once: true })
  stack.defer(() => signal.removeEventListener('abort', giveUp))
  signal.throwIfAborted()
  await askHealth(live.guest, machineLimits.guestReadyMs)
  stage('guestMs')
  signal.throwIfAborted()
  await adopt(context, live, record)
  stage('adoptMs')
  signal.throwIfAborted()
  signal.removeEventListener('abort', giveUp)
  stack.move()
  for (const [name, ms] of Object.entries(machine.timings)) timings[`machine.${name}`] = round(ms)
  return { live, timings }
}

const round = (ms: number): number => Math.round(ms * 1_000) / 1_000

/** A machine with its channel. */
export const liveOf = (context: Context, id: string, machine: Live['machine']): Live => ({
  id,
  machine,
  guest: guestConnection(
    (signal) => machine.connectGuest(signal),
    () => (context.random(1)[0] ?? 0) / 256,
    (fault) => reportReach(context, id, fault),
  ),
  exchanges: new Set(),
  lastHeldMs: context.clock.now(),
})

/** The limits of a record in the units of the port. */
export const machineLimitsOf = ({ spec: { limits } }: SandboxRecord): MachineLimits => ({
  cpuMillis: limits.cpuMillis,
  memoryBytes: limits.memoryMib * 1024 ** 2,
  diskBytes: limits.diskMib * 1024 ** 2,
  processes: limits.processes,
  openFiles: limits.openFiles,
})

/** Gives the guest its identity and believes only what it answers (invariant 12). */
export const adopt = async (context: Context, live: Live, record: SandboxRecord): Promise<void> => {
  const { spec } = record
  const limits = machineLimitsOf(record)
  const identity: Identity = {
    sandboxId: record.id,
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
  const adopted = await askAdopt(live.guest, identity, machineLimits.guestReadyMs)
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
