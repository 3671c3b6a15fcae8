import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import {
  encodeOutputFrame,
  frameKinds,
  type GuestResponse,
  type NodeApi,
  type SandboxState,
} from '@atoll/protocol'
import { createGateway, type GatewayLimits, serverOptions } from '../src/index.ts'

export const sandbox = 'sbx_aaaaaaaaaaaaaaaaaaaa'
export const home = `/v1/sandboxes/${sandbox}`

const record = {
  id: 'p',
  pid: 1,
  argv: ['x'],
  user: 'root',
  cwd: '/',
  terminal: false,
  state: 'running',
  startedAtMs: 1,
  log: { start: 0, end: 0 },
  exit: null,
}

/** Frames as a guest sends them. */
export const frame = {
  started: encodeOutputFrame({
    kind: frameKinds.event,
    offset: 0,
    payload: Buffer.from(JSON.stringify({ type: 'started', process: record })),
  }),
  out: (offset: number, bytes: Uint8Array) =>
    encodeOutputFrame({ kind: frameKinds.stdout, offset, payload: bytes }),
  event: (value: unknown) =>
    encodeOutputFrame({ kind: frameKinds.event, offset: 0, payload: Buffer.from(JSON.stringify(value)) }),
}

/** A guest that says what a test makes it say: real ones cannot be made to lie on demand. */
export const startScripted = async (
  script: (request: { method: string; path: string; signal?: AbortSignal }) => GuestResponse,
  limits: Partial<GatewayLimits> = {},
  state: SandboxState = 'running',
) => {
  const asked: string[] = []
  const node = {
    get: async () => ({ state }),
    guest: async (_id, request) => {
      asked.push(`${request.method} ${request.path}`)
      return script(request)
    },
  } as Pick<NodeApi, 'guest'> as NodeApi
  const log = { info: () => {}, warn: () => {}, error: () => {} }
  const gateway = createGateway({
    authorize: async () => ({ project: 'p', key: 'k', onRevoked: () => ({ [Symbol.dispose]: () => {} }) }),
    node: () => node,
    logger: log,
    limits,
  })
  const server = createServer(serverOptions, (request, response) => void gateway.handle(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    asked,
    raw: (method: string, path: string, body?: BodyInit, headers: Record<string, string> = {}) =>
      fetch(`http://127.0.0.1:${port}${home}${path}`, {
        method,
        headers,
        ...(body === undefined ? {} : { body }),
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const answer = (
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  status = 200,
  headers: Record<string, string> = {},
): GuestResponse => ({ status, headers, body: Readable.from(chunks, { objectMode: false }) })

export const refusal = (status: number, code: string, details?: object): GuestResponse =>
  answer([Buffer.from(JSON.stringify({ code, message: 'so', details }))], status)
