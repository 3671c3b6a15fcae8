import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2'
import type { Duplex } from 'node:stream'
import { AtollError, envSchema } from '@atoll/protocol'
import { z } from 'zod'
import { guestGeneration } from '../../../guest/calls.ts'
import { answerJson, type Call, readBody } from './call.ts'
import { fileRoutes } from './file-routes.ts'
import { processRoutes } from './process-routes.ts'
import type { GuestState } from './state.ts'

const adoptSchema = z.object({
  sandboxId: z.string(),
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

/** The simulated agent: docs/reference/guest-protocol.md over any Duplex. A newer session replaces the older. */
export const serveGuest = (guest: GuestState) => {
  let session: ServerHttp2Session | undefined
  const server: Http2Server = createServer({
    settings: { initialWindowSize: 1024 ** 2, maxFrameSize: 128 * 1024 },
  })
  server.on('session', (opened) => {
    session?.destroy()
    session = opened
    opened.on('error', () => undefined)
  })
  server.on('stream', (stream, headers) => {
    const url = new URL(headers[':path'] ?? '/', 'http://guest')
    const call: Call = {
      guest,
      stream,
      headers,
      method: headers[':method'] ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
    }
    stream.on('error', () => undefined)
    route(call).catch((error: unknown) => fail(call, error))
  })
  return {
    accept: (duplex: Duplex): void => void server.emit('connection', duplex),
    close: (): void => session?.destroy(),
  }
}

const fail = (call: Call, error: unknown): void => {
  if (call.stream.destroyed || call.stream.headersSent) {
    call.stream.destroy()
    return
  }
  const known = error instanceof AtollError ? error : new AtollError('internal', String(error))
  answerJson(call, known.status, known.toBody())
}

const route = async (call: Call): Promise<void> => {
  const [version, noun, ...rest] = call.path.split('/').slice(1)
  switch (version === 'v1' ? noun : undefined) {
    case 'health':
      return health(call)
    case 'adopt':
      return await adopt(call)
    case 'processes':
      return await processRoutes(call, rest)
    case 'files':
      return await fileRoutes(call, rest[0])
    case 'metrics':
      return metrics(call)
    case 'ports':
      throw new AtollError('connection_refused', `nobody listens on port ${rest[0]}`)
    case 'tar':
      throw new AtollError('unsupported', 'the simulated runtime has no archives; use a real runtime')
    default:
      throw new AtollError('not_found', `${call.method} ${call.path}: no such call`)
  }
}

const health = (call: Call): void => {
  const { guest } = call
  answerJson(call, 200, {
    generation: guestGeneration,
    agentVersion: 'simulated',
    pid: 1,
    uptimeMs: guest.now() - guest.startedAtMs,
    sandboxId: guest.identity?.sandboxId ?? null,
    adopted: guest.identity !== undefined,
  })
}

const adopt = async (call: Call): Promise<void> => {
  const identity = await readBody(call, adoptSchema)
  const { guest } = call
  guest.identity = identity
  guest.tree.limitBytes = identity.limits.diskBytes
  answerJson(call, 200, {
    sandboxId: guest.identity.sandboxId,
    hostname: guest.identity.hostname,
    timeUnixMs: guest.now(),
    clockSkewMs: guest.now() - identity.timeUnixMs,
    limits: guest.identity.limits,
  })
}

const metrics = (call: Call): void => {
  const { guest } = call
  const running = [...guest.processes.values()].filter((process) => process.record().exit === null)
  answerJson(call, 200, {
    memory: { limitBytes: guest.identity?.limits.memoryBytes ?? 0, usedBytes: 0 },
    disk: { limitBytes: guest.tree.limitBytes, usedBytes: guest.tree.usedBytes },
    processes: { limit: guest.identity?.limits.processes ?? 0, count: running.length, zombies: 0 },
    cpu: { usedMs: 0 },
    agent: { residentBytes: 0, openStreams: 1 },
    oomKills: 0,
  })
}
