import { createServer, type Http2Server, type ServerHttp2Session } from 'node:http2'
import type { Duplex } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { answerJson, type Call } from './call.ts'
import { fileRoutes } from './file-routes.ts'
import { adopt, continueAll, health, quiesce } from './identity-routes.ts'
import { layerRoutes } from './layer-routes.ts'
import { processRoutes } from './process-routes.ts'
import type { GuestState } from './state.ts'

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
  await call.guest.frozen.passed()
  const [version, noun, ...rest] = call.path.split('/').slice(1)
  switch (version === 'v1' ? noun : undefined) {
    case 'health':
      return health(call)
    case 'adopt':
      return await adopt(call)
    case 'quiesce':
      return await quiesce(call)
    case 'continue':
      return continueAll(call)
    case 'layer':
      return await layerRoutes(call)
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
