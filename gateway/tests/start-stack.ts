import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createControl } from '@atoll/control'
import { systemClock } from '@atoll/kit'
import { createNode, simulatedDriver, simulatedImages, simulatedWorld } from '@atoll/node'
import type { NodeApi } from '@atoll/protocol'
import { createGateway, type GatewayLimits, type PortLimits, serverOptions } from '../src/index.ts'

const quiet = {
  info: () => {},
  warn: () => {},
  error: (fields: object, text: string): void =>
    void (process.env['ATOLL_TEST_LOG'] && console.log(text, fields)),
}

/** Control, gateway and a node on the simulated runtime, behind a real server on loopback. */
export const startStack = async (
  options: {
    limits?: Partial<GatewayLimits>
    portLimits?: Partial<PortLimits>
    wrap?: (node: NodeApi) => NodeApi
  } = {},
) => {
  await using stack = new AsyncDisposableStack()
  const dataFolder = await mkdtemp(join(tmpdir(), 'atoll-gateway-'))
  stack.defer(() => rm(dataFolder, { recursive: true, force: true }))
  const parts = { dataFolder, clock: systemClock, random: randomBytes, logger: quiet }
  const images = simulatedImages(systemClock)
  const drivers = [simulatedDriver({ world: simulatedWorld() })]
  const inner = stack.use(await createNode({ ...parts, drivers, images }))
  const node: NodeApi = options.wrap?.(inner) ?? inner
  const control = await createControl({ ...parts, node })
  stack.defer(() => control.close())
  const gateway = createGateway({
    authorize: control.authorize,
    node: () => node,
    logger: quiet,
    ports: {
      authorize: control.authorizePort,
      domains: [{ name: 'localhost', secure: false }],
      limits: options.portLimits ?? {},
    },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    void gateway.handle(request, response).then((served) => {
      if (!served) void control.listener(request, response)
    })
  }
  const server = createServer(serverOptions, serve)
  server.on('checkContinue', (request, response) => {
    if (!gateway.decidesContinue(request)) response.writeContinue()
    serve(request, response)
  })
  server.on('upgrade', (request, socket, head) => {
    if (!gateway.upgrade(request, socket, head)) socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  stack.defer(async () => {
    gateway.close()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const port = (server.address() as AddressInfo).port
  const key = control.firstKey?.secret ?? ''
  const authorization = `Bearer ${key}`
  const raw = (
    method: string,
    path: string,
    body?: BodyInit | Record<string, unknown> | null,
    headers: Record<string, string> = {},
  ): Promise<Response> => {
    const isJson =
      body !== null && typeof body === 'object' && Object.getPrototypeOf(body) === Object.prototype
    return fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body === undefined || body === null
        ? {}
        : { body: isJson ? JSON.stringify(body) : (body as BodyInit) }),
      headers: { authorization, ...(isJson ? { 'content-type': 'application/json' } : {}), ...headers },
      ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
    } as RequestInit)
  }
  const made = JSON.parse(await (await raw('POST', '/v1/sandboxes', { runtime: 'simulated' })).text())
  const home = `/v1/sandboxes/${made.id}`
  const call = async (method: string, path: string, body?: Record<string, unknown>, headers = {}) => {
    const response = await raw(method, home + path, body, headers)
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) }
  }
  const held = stack.move()
  return {
    node,
    control,
    port,
    key,
    id: made.id as string,
    home,
    raw,
    call,
    authorization,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

/** The lines of an NDJSON answer. */
export const linesOf = async (response: Response): Promise<Record<string, unknown>[]> =>
  (await response.text())
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

export const ndjson = { accept: 'application/x-ndjson' }
