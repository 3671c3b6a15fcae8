import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NodeApi } from '@atoll/protocol'
import { type Control, type ControlLimits, createControl } from '../src/index.ts'

export const quiet = {
  info: () => {},
  warn: () => {},
  error: (fields: object, text: string): void =>
    void (process.env['ATOLL_TEST_LOG'] && console.log(text, fields)),
}

/** What a logger was told, to be asked afterwards. */
export const recorder = () => {
  const errors: string[] = []
  return {
    errors,
    logger: {
      ...quiet,
      error: (fields: object, text: string) => void errors.push(`${text} ${JSON.stringify(fields)}`),
    },
  }
}

interface Init {
  body?: BodyInit
  /** Node's fetch asks for it where the body is a stream. */
  duplex?: string
  headers?: Record<string, string>
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, ReturnType<typeof JSON.parse>>
}

/** A control with a real server and a real database. */
export const startControl = async (
  node: NodeApi,
  options: {
    dataFolder?: string
    limits?: Partial<ControlLimits>
    key?: string
    now?: () => number
    logger?: typeof quiet
  } = {},
) => {
  const dataFolder = options.dataFolder ?? (await mkdtemp(join(tmpdir(), 'atoll-control-')))
  const control: Control = await createControl({
    dataFolder,
    node,
    clock: { now: options.now ?? (() => Date.now()), monotonic: () => performance.now() },
    random: randomBytes,
    logger: options.logger ?? quiet,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  })
  const server = createServer((request, response) => void control.listener(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const key = options.key ?? control.firstKey?.secret ?? ''
  const raw = (method: string, path: string, init: Init = {}): Promise<Response> =>
    fetch(base + path, {
      method,
      ...init,
      headers: { authorization: `Bearer ${key}`, ...init.headers },
    } as RequestInit)
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> => {
    const response = await raw(method, path, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    })
    return { status: response.status, headers: response.headers, body: JSON.parse(await response.text()) }
  }
  const stop = async (): Promise<void> => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await control.close()
  }
  return {
    control,
    base,
    key,
    dataFolder,
    call,
    raw,
    stop,
    async [Symbol.asyncDispose]() {
      await stop().catch(() => {})
      await rm(dataFolder, { recursive: true, force: true })
    },
  }
}
