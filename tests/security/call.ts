import { request } from 'node:http'
import type { Stack } from '../stack/start-stack.ts'

export interface RawAnswer {
  readonly status: number
  readonly text: string
  /** The envelope's code, where the answer is one. */
  readonly code: string | undefined
}

export interface RawCall {
  readonly method?: string
  /** Null: no Authorization header. Default: the stack's first key. */
  readonly key?: string | null
  readonly body?: string | Uint8Array
  readonly headers?: Readonly<Record<string, string>>
}

/** One request by node:http, which sends the path as it is: `fetch` would tidy `..` away. */
export const call = (
  stack: Pick<Stack, 'port' | 'apiKey'>,
  path: string,
  { method = 'GET', key = stack.apiKey, body, headers = {} }: RawCall = {},
): Promise<RawAnswer> =>
  new Promise((resolve, reject) => {
    const length = body === undefined ? 0 : Buffer.byteLength(body)
    const sent = request(
      {
        host: '127.0.0.1',
        port: stack.port,
        method,
        path,
        headers: {
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(length) }),
          ...headers,
        },
        timeout: 20_000,
      },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          resolve({ status: answer.statusCode ?? 0, text, code: codeOf(text) })
        })
      },
    )
    sent.on('error', reject)
    sent.on('timeout', () => sent.destroy(new Error(`${method} ${path} did not answer in 20 s`)))
    sent.end(body)
  })

const codeOf = (text: string): string | undefined => {
  try {
    const body = JSON.parse(text) as { code?: unknown }
    return typeof body.code === 'string' ? body.code : undefined
  } catch {
    return undefined
  }
}
