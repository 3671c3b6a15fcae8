import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AtollError } from '@atoll/protocol'
import { z } from 'zod'
import type {
  Machine,
  MachineExit,
  MachineImage,
  MachineLimits,
  MachineRecord,
  Receipt,
} from '../runtimes/driver.ts'
import { cpuWeightOf } from './cpu-weight.ts'
import { reap } from './launcher.ts'
import { keepLimits } from './keep-limits.ts'
import {
  askShim,
  deadlineSchema,
  destroyedSchema,
  exitSchema,
  limitsSchema,
  readExit,
  statusSchema,
  usageSchema,
} from './shim.ts'
import { shimLives } from './shim-lives.ts'
import { connectUnix } from './unix-socket.ts'

/** How a runtime's own limits follow from those of the sandbox, and back. */
export interface LimitTranslation {
  toHost(limits: Pick<MachineLimits, 'memoryBytes' | 'processes'>): { memoryBytes: number; pids: number }
  memoryFromHost(bytes: number): number
  processesFromHost(pids: number): number
}

export interface ShimmedMachine {
  readonly launcherPath: string
  readonly record: MachineRecord
  readonly limits: MachineLimits
  readonly timings: Readonly<Record<string, number>>
  readonly translation: LimitTranslation
  /** What `resize` leaves as it was at the start. */
  readonly fixed: readonly ('diskBytes' | 'openFiles')[]
  /** How this runtime saves it; the limits are those in force. */
  readonly checkpoint: (
    target: string,
    kind: MachineImage['kind'],
    limits: MachineLimits,
    signal: AbortSignal,
  ) => Promise<MachineImage>
}

/** Ms between looks while shim and spare change places. */
const retryMs = 20
/** Ms without a shim after which it is taken as lost: healing takes a few. */
const lostAfterMs = 2_000
const reapTimeoutMs = 30_000

/** A machine behind a launcher's shim: what gVisor and containers have in common. */
export const shimmedMachine = (given: ShimmedMachine): Machine => {
  const { record, launcherPath, translation } = given
  const { directory } = record
  let limits = given.limits
  const ask = <Answer>(
    question: { readonly do: string; readonly [key: string]: unknown },
    schema: z.ZodType<Answer>,
    signal: AbortSignal,
  ) => askShim(directory, question, schema, signal)
  const destroy = (signal: AbortSignal): Promise<Receipt> => destroyMachine(launcherPath, directory, signal)
  return {
    record,
    timings: given.timings,
    exited: awaitExit(launcherPath, directory),
    connectGuest: async (signal) => {
      try {
        return await connectUnix(join(directory, 'agent.sock'), signal)
      } catch (error) {
        signal.throwIfAborted()
        throw new AtollError(
          'guest_unreachable',
          `cannot connect to ${record.id}: its shim does not listen`,
          { cause: error },
        )
      }
    },
    state: async (signal) => {
      try {
        return (await ask({ do: 'status' }, statusSchema, signal)).state
      } catch (error) {
        if ((await readExit(directory)) !== undefined) return 'ended'
        throw error
      }
    },
    freeze: async (signal) => void (await ask({ do: 'freeze' }, z.object({}), signal)),
    thaw: async (signal) => void (await ask({ do: 'thaw' }, z.object({}), signal)),
    checkpoint: (target, kind, signal) => given.checkpoint(target, kind, limits, signal),
    resize: async ({ weight, ...wanted }, signal) => {
      refuseFixed(given, limits, wanted)
      const host = translation.toHost({ ...limits, ...wanted })
      const question = {
        do: 'resize',
        ...(wanted.memoryBytes === undefined ? {} : { memoryBytes: host.memoryBytes }),
        ...(wanted.processes === undefined ? {} : { pids: host.pids }),
        ...(wanted.cpuMillis === undefined ? {} : { cpuMillis: wanted.cpuMillis }),
        ...(weight === undefined ? {} : { cpuWeight: cpuWeightOf(weight) }),
      }
      const inForce = await ask(question, limitsSchema, signal)
      if (wanted.openFiles !== undefined && wanted.openFiles !== limits.openFiles) {
        limits = { ...limits, openFiles: wanted.openFiles }
        await keepLimits(directory, limits)
      }
      limits = {
        ...limits,
        cpuMillis: inForce.cpuMillis,
        memoryBytes: translation.memoryFromHost(inForce.memoryBytes),
        processes: translation.processesFromHost(inForce.pids),
      }
      return limits
    },
    setDeadline: async (unixMs, action, signal) => {
      const answer = await ask({ do: 'deadline', unixMs, action }, deadlineSchema, signal)
      if (answer.unixMs !== unixMs || answer.action !== action)
        throw new AtollError(
          'internal',
          `cannot set the deadline of ${record.id}: the shim has ${answer.action} at ${answer.unixMs}`,
        )
    },
    usage: async (signal) => {
      const { pids, pidsLimitHits: _, ...usage } = await ask({ do: 'usage' }, usageSchema, signal)
      return { ...usage, hostProcesses: pids }
    },
    destroy,
    [Symbol.asyncDispose]: async () => void (await destroy(AbortSignal.timeout(reapTimeoutMs))),
  }
}

/** What only a new start can change. */
const refuseFixed = (
  { record, fixed }: ShimmedMachine,
  limits: MachineLimits,
  wanted: Partial<MachineLimits>,
): void => {
  for (const name of fixed)
    if (wanted[name] !== undefined && wanted[name] !== limits[name])
      throw new AtollError(
        'unsupported',
        `cannot resize ${record.id}: ${name} is fixed at its start; create a new sandbox`,
      )
}

/** Ends it by its shim, or by its record when the shim is lost. A second time answers the first one's receipt. */
const destroyMachine = async (
  launcherPath: string,
  directory: string,
  signal: AbortSignal,
): Promise<Receipt> => {
  const none: Receipt = { processes: 0, cgroups: 0, mounts: 0, files: 0, durationMs: 0 }
  try {
    const answer = await askShim(
      directory,
      { do: 'destroy', cause: 'destroyed by the node' },
      destroyedSchema,
      signal,
    )
    if (answer.receipt !== null) return answer.receipt
  } catch {
    signal.throwIfAborted()
  }
  const before = await readExit(directory)
  const reaped = await reap(launcherPath, directory, signal)
  return (
    before?.receipt ??
    (reaped.processes + reaped.cgroups > 0 ? reaped : ((await readExit(directory))?.receipt ?? none))
  )
}

/** Waits on the shim, over its deaths; reads the end from disk; as a last resort ends what is left. */
const awaitExit = async (launcherPath: string, directory: string): Promise<MachineExit> => {
  const never = new AbortController().signal
  let unreachableSince: number | undefined
  for (;;) {
    const waited = await askShim(directory, { do: 'waitExit' }, exitSchema, never).catch(() => undefined)
    const exit = waited ?? (await readExit(directory).catch(() => undefined))
    if (exit !== undefined) return exitOf(exit)
    const reachable = await askShim(directory, { do: 'status' }, statusSchema, never).then(
      () => true,
      () => false,
    )
    unreachableSince = reachable ? undefined : (unreachableSince ?? performance.now())
    if (
      unreachableSince !== undefined &&
      performance.now() - unreachableSince > lostAfterMs &&
      !(await shimLives(directory))
    ) {
      const lost = await reapLost(launcherPath, directory)
      if (lost !== undefined) return lost
    }
    await sleep(retryMs, undefined, { ref: false })
  }
}

const reapLost = async (launcherPath: string, directory: string): Promise<MachineExit | undefined> => {
  try {
    await reap(launcherPath, directory, AbortSignal.timeout(reapTimeoutMs))
    const exit = await readExit(directory)
    return exit === undefined ? undefined : exitOf(exit)
  } catch (error) {
    // The folder itself is gone: someone removed the sandbox by hand.
    if (error instanceof AtollError && error.code === 'not_found')
      return { ...unknownEnd, atUnixMs: Date.now(), message: `its folder ${directory} is gone` }
    return undefined
  }
}

const unknownEnd = { cause: 'fault', code: null, signal: null, oomKills: 0 } as const

/** What the shim wrote down of the end; undefined while there is none. */
export const lastExit = async (directory: string): Promise<MachineExit | undefined> => {
  const exit = await readExit(directory)
  return exit === undefined ? undefined : exitOf(exit)
}

const exitOf = ({
  cause,
  code,
  signal,
  oomKills,
  atUnixMs,
  message,
}: z.infer<typeof exitSchema>): MachineExit => ({
  cause,
  code,
  signal,
  oomKills,
  atUnixMs,
  message,
})
