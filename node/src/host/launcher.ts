import { join } from 'node:path'
import { AtollError, isErrorCode } from '@atoll/protocol'
import { z } from 'zod'
import type { Receipt } from '../runtimes/driver.ts'
import { writeJson } from './files.ts'
import { run } from './run.ts'

/** LAUNCH.json of docs/reference/launcher-protocol.md. */
export interface Launch {
  readonly id: string
  readonly directory: string
  readonly kind: 'gvisor' | 'container'
  readonly create: Command
  readonly start: Command | null
  readonly pidFile: string | null
  readonly stateFiles: readonly string[]
  readonly timeoutMs: number
  readonly timerSlackNs: number
  readonly cpuAffinityCount: number
  readonly oomScoreAdj: number
  readonly cgroup: {
    readonly parent: string
    readonly memoryBytes: number
    readonly cpuMillis: number
    /** As cgroup2 counts: 1 to 10,000, 100 is normal. */
    readonly cpuWeight: number
    readonly pids: number
    readonly delegate: { readonly ownerUid: number; readonly mountpoint: string } | null
    readonly memoryMountpoint: string | null
    /** Absent is null. */
    readonly pidsMountpoint?: string
  }
  readonly scratch: string | null
  readonly masks: readonly ({ readonly file: string; readonly over: string } | { readonly tmpfs: string })[]
  readonly disk: { readonly image: string; readonly mountpoint: string } | null
  readonly rootfs: {
    readonly erofs: string
    readonly mountpoint: string
    readonly overlayUpper: string
    readonly overlayWork: string
    readonly merged: string
    readonly idmapBase: number
  } | null
  readonly gvisor: {
    readonly controlSocket: string
    readonly calls: readonly { readonly method: string; readonly arg: unknown }[]
  } | null
  readonly deadlineUnixMs: number | null
}

/** A program and its whole environment. */
export interface Command {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

const startedSchema = z.object({
  shimPid: z.int(),
  shimStartTime: z.int(),
  runtimePid: z.int(),
  runtimeStartTime: z.int(),
  timings: z.record(z.string(), z.number()),
})
/** What the launcher says of a sandbox that runs. */
export type Started = z.infer<typeof startedSchema>

export const receiptSchema = z.object({
  processes: z.int(),
  cgroups: z.int(),
  mounts: z.int(),
  files: z.int(),
  durationMs: z.number(),
})
const faultSchema = z.object({ code: z.string(), message: z.string(), step: z.string().optional() })

/** The launcher gives up by itself; this is for one that hangs. */
const graceMs = 10_000
const reapTimeoutMs = 30_000

/** Starts a sandbox. When the caller aborts or the launcher hangs, nothing of it is left. */
export const launch = async (launcherPath: string, plan: Launch, signal: AbortSignal): Promise<Started> => {
  const file = join(plan.directory, 'launch.json')
  await writeJson(file, plan)
  try {
    const answer = await run({
      act: `start ${plan.id}`,
      file: launcherPath,
      args: ['run', file],
      timeoutMs: plan.timeoutMs + graceMs,
      signal,
    })
    if (answer.exitCode === 0) return startedSchema.parse(JSON.parse(answer.stdout))
    throw launcherFault(`start ${plan.id}`, answer.stderr)
  } catch (error) {
    // A launcher that was killed half-way leaves what its record names; after a clean failure this finds nothing.
    await reap(launcherPath, plan.directory, AbortSignal.timeout(reapTimeoutMs))
    throw error
  }
}

/** Ends what the folder's record names, whatever became of the shim. */
export const reap = async (
  launcherPath: string,
  directory: string,
  signal: AbortSignal,
): Promise<Receipt> => {
  const act = `free ${directory}`
  const answer = await run({
    act,
    file: launcherPath,
    args: ['reap', directory],
    timeoutMs: reapTimeoutMs,
    signal,
  })
  if (answer.exitCode !== 0) throw launcherFault(act, answer.stderr)
  return z.object({ receipt: receiptSchema }).parse(JSON.parse(answer.stdout)).receipt
}

const launcherFault = (act: string, stderr: string): AtollError => {
  const line = stderr.trim().split('\n').at(-1) ?? ''
  const parsed = faultSchema.safeParse(parseJson(line))
  if (!parsed.success)
    return new AtollError('internal', `cannot ${act}: the launcher said: ${line.slice(-500)}`)
  const { code, message, step } = parsed.data
  return new AtollError(isErrorCode(code) ? code : 'internal', message, {
    details: { launcherCode: code, ...(step === undefined ? {} : { step }) },
  })
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
