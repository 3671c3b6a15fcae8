import { AtollError, type GuestRequest, metricsSchema, processSchema } from '@atoll/protocol'
import { z } from 'zod'
import type { GuestConnection } from './connection.ts'
import { readJson } from './read-json.ts'

/** The one generation of the guest protocol that this build speaks. */
export const guestGeneration = 2

const healthSchema = z.object({
  generation: z.int(),
  agentVersion: z.string().max(128),
  pid: z.int(),
  uptimeMs: z.number(),
  sandboxId: z.string().max(64).nullable(),
  /** False in a restored copy that was not told yet who it is. */
  adopted: z.boolean(),
  quiesced: z.boolean(),
  /** The generation that the last adoption gave; 0 before the first. */
  identityGeneration: z.int(),
})
export type GuestHealth = z.output<typeof healthSchema>

/** What the agent is told to be. */
export interface Identity {
  readonly sandboxId: string
  /** Counts the identities that a sandbox's memory has had: one more at each fork and resume. */
  readonly generation: number
  readonly reason: 'create' | 'fork' | 'resume' | 'resize'
  readonly hostname: string
  readonly timeUnixMs: number
  readonly entropy: string
  readonly env: Readonly<Record<string, string>>
  readonly limits: {
    readonly memoryBytes: number
    readonly processes: number
    readonly diskBytes: number
    readonly openFiles: number
    readonly cpuCount: number
  }
  readonly defaultUser: string
  readonly workdir: string
}

const adoptedSchema = z.object({
  sandboxId: z.string().max(64),
  hostname: z.string().max(256),
  timeUnixMs: z.number(),
  clockSkewMs: z.number(),
  limits: z.object({
    memoryBytes: z.number(),
    processes: z.number(),
    diskBytes: z.number(),
    openFiles: z.number(),
  }),
})
export type Adopted = z.output<typeof adoptedSchema>

const quiescedSchema = z.object({ stopped: z.int() })
const continuedSchema = z.object({ continued: z.int() })

const processesSchema = z.object({ processes: z.array(processSchema) })

/** Asks the agent who it is; refuses another generation than ours, since it would misunderstand us. */
export const askHealth = async (guest: GuestConnection, timeoutMs: number): Promise<GuestHealth> => {
  const act = "cannot read the guest's health"
  const health = await ask(guest, { method: 'GET', path: '/v1/health' }, timeoutMs, healthSchema, act)
  if (health.generation === guestGeneration) return health
  throw new AtollError(
    'unsupported',
    `cannot speak with the guest agent: it is of generation ${health.generation}, this node of ${guestGeneration}; build the template anew`,
  )
}

/** Gives the agent its identity and answers with what is in force there. */
export const askAdopt = (guest: GuestConnection, identity: Identity, timeoutMs: number): Promise<Adopted> =>
  ask(
    guest,
    { method: 'POST', path: '/v1/adopt', ...jsonBody(identity) },
    timeoutMs,
    adoptedSchema,
    'cannot give the guest its identity',
  )

/**
 * Stops every user process and answers how many; the agent continues them by itself after `forMs`, but never in
 * a copy. `overloaded` where some could not be caught: everything runs on then.
 */
export const askQuiesce = async (guest: GuestConnection, forMs: number, timeoutMs: number): Promise<number> =>
  (
    await ask(
      guest,
      { method: 'POST', path: '/v1/quiesce', ...jsonBody({ forMs }) },
      timeoutMs,
      quiescedSchema,
      "cannot quiesce the guest's processes",
    )
  ).stopped

/** Continues what quiesce stopped and answers how many; `not_adopted` in a copy that was not adopted since. */
export const askContinue = async (guest: GuestConnection, timeoutMs: number): Promise<number> =>
  (
    await ask(
      guest,
      { method: 'POST', path: '/v1/continue' },
      timeoutMs,
      continuedSchema,
      "cannot continue the guest's processes",
    )
  ).continued

/** All processes that the agent knows, newest first. */
export const askProcesses = async (guest: GuestConnection, timeoutMs: number) =>
  (
    await ask(
      guest,
      { method: 'GET', path: '/v1/processes' },
      timeoutMs,
      processesSchema,
      "cannot list the guest's processes",
    )
  ).processes

/** What the agent sees of its own limits. */
export const askMetrics = (guest: GuestConnection, timeoutMs: number) =>
  ask(
    guest,
    { method: 'GET', path: '/v1/metrics' },
    timeoutMs,
    metricsSchema,
    "cannot read the guest's metrics",
  )

/** A JSON body with its content type. */
export const jsonBody = (value: unknown) => ({
  headers: { 'content-type': 'application/json' },
  body: Buffer.from(JSON.stringify(value)),
})

const ask = async <Schema extends z.ZodType>(
  guest: GuestConnection,
  request: GuestRequest,
  timeoutMs: number,
  schema: Schema,
  act: string,
): Promise<z.output<Schema>> => {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    const response = await guest.request({ ...request, headersTimeoutMs: timeoutMs, signal })
    return await readJson(response, schema, act)
  } catch (error) {
    if (!signal.aborted) throw error
    throw new AtollError('guest_unreachable', `${act}: no answer within ${timeoutMs} ms`, { cause: error })
  }
}
