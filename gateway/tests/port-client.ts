import { type IncomingHttpHeaders, request as ask, type RequestOptions } from 'node:http'
import { connect, type Socket } from 'node:net'
import { portHostLabel } from '@atoll/protocol'

export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  readonly trailers: NodeJS.Dict<string>
}

/** Asks the gateway as any client would; the name resolves to loopback. */
export const askPort = (
  stack: { readonly port: number; readonly id: string },
  inside: number,
  options: RequestOptions & { body?: string | Buffer; via?: string } = {},
): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const { body, via, headers, ...rest } = options
    const request = ask({
      host: '127.0.0.1',
      port: stack.port,
      agent: false,
      ...rest,
      headers: { host: via ?? hostOf(stack, inside), ...(headers as Record<string, string>) },
    })
    request.once('error', reject)
    request.once('response', (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.once('error', reject)
      answer.once('end', () =>
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text: Buffer.concat(chunks).toString(),
          trailers: answer.trailers,
        }),
      )
    })
    request.end(body)
  })

export const hostOf = (stack: { readonly port: number; readonly id: string }, inside: number): string =>
  `${portHostLabel(stack.id, inside)}.localhost:${stack.port}`

/** Writes text on a bare connection and answers all that comes until it closes, or until `until` was seen. */
export const rawExchange = (
  port: number,
  text: string,
  until?: RegExp,
): Promise<{ text: string; socket: Socket }> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let seen = ''
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1')
      if (until?.test(seen) === true) resolve({ text: seen, socket })
    })
    socket.once('error', reject)
    socket.once('close', () => resolve({ text: seen, socket }))
    socket.write(text)
  })
