import { AtollError, envSchema } from '@atoll/protocol'
import { z } from 'zod'
import { guestGeneration } from '../../../guest/calls.ts'
import { answerJson, type Call, readBody } from './call.ts'
import { type GuestState, isAdopted } from './state.ts'
import { attach, find, makeDirectory } from './tree.ts'

const adoptSchema = z.object({
  sandboxId: z.string(),
  generation: z.int().min(1),
  reason: z.enum(['create', 'fork', 'resume', 'resize']),
  hostname: z.string(),
  timeUnixMs: z.number(),
  entropy: z.base64(),
  env: envSchema,
  limits: z.object({
    memoryBytes: z.number(),
    processes: z.number(),
    diskBytes: z.number(),
    openFiles: z.number(),
    cpuCount: z.number(),
  }),
  defaultUser: z.string(),
  workdir: z.string(),
})

export const health = (call: Call): void => {
  const { guest } = call
  answerJson(call, 200, {
    generation: guestGeneration,
    agentVersion: 'simulated',
    pid: 1,
    uptimeMs: guest.now() - guest.startedAtMs,
    sandboxId: guest.identity?.sandboxId ?? null,
    adopted: isAdopted(guest),
    quiesced: guest.quiet.isClosed,
    identityGeneration: guest.identity?.generation ?? 0,
  })
}

export const adopt = async (call: Call): Promise<void> => {
  const identity = await readBody(call, adoptSchema)
  const { guest } = call
  if (guest.identity?.generation !== identity.generation) writeGeneration(guest, identity.generation)
  guest.identity = identity
  guest.isCopy = false
  guest.tree.limitBytes = identity.limits.diskBytes
  answerJson(call, 200, {
    sandboxId: identity.sandboxId,
    hostname: identity.hostname,
    timeUnixMs: guest.now(),
    clockSkewMs: guest.now() - identity.timeUnixMs,
    limits: identity.limits,
  })
}

/** /run/atoll/generation, for programs that want to know. */
const writeGeneration = ({ tree, now }: GuestState, generation: number): void => {
  for (const path of ['/run', '/run/atoll'])
    if (find(tree, path) === undefined) attach(tree, path, makeDirectory(0o755, 0, now()))
  const data = Buffer.from(`${generation}\n`)
  const owner = { mode: 0o644, uid: 0, gid: 0, modifiedMs: now() }
  attach(tree, '/run/atoll/generation', { type: 'file', data, ...owner })
}

const quiesceSchema = z.object({ forMs: z.int().min(1) })

/** Nothing writes or ends until `continue`, or by itself after a while where this is no copy. */
export const quiesce = async (call: Call): Promise<void> => {
  const { forMs } = await readBody(call, quiesceSchema)
  const { guest } = call
  guest.quiet.close()
  clearTimeout(guest.quietTimer)
  guest.quietTimer = setTimeout(() => guest.quiet.open(), forMs)
  guest.quietTimer.unref()
  answerJson(call, 200, { stopped: runningOf(guest) })
}

export const continueAll = (call: Call): void => {
  const { guest } = call
  if (guest.isCopy)
    throw new AtollError('not_adopted', 'cannot continue: this is a copy that has no identity yet')
  const continued = guest.quiet.isClosed ? runningOf(guest) : 0
  clearTimeout(guest.quietTimer)
  guest.quiet.open()
  answerJson(call, 200, { continued })
}

const runningOf = ({ processes }: GuestState): number =>
  [...processes.values()].filter((process) => process.record().exit === null).length
