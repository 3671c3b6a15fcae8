import { type IncomingMessage, request as ask, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { AtollError } from '@atoll/protocol'
import { drained } from '../drain.ts'
import { limitAnswer } from './answer-limits.ts'
import { admit } from './admit.ts'
import type { Pool } from './pool.ts'
import type { PortDeps, PortTarget } from './port-deps.ts'
import { headersInward } from './request-headers.ts'
import { headersOutward } from './response-headers.ts'
import { silenceTimer } from './silence.ts'

interface Way {
  readonly deps: PortDeps
  readonly target: PortTarget
  readonly maskHost: boolean
  readonly request: IncomingMessage
  readonly socket: Duplex
}

/** Carries an upgrade in: a WebSocket as a rule. After the server's 101 the bytes pass as they are, both ways. */
export const relayUpgrade = async (
  deps: PortDeps,
  pool: Pool,
  target: PortTarget,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  gone: AbortSignal,
): Promise<void> => {
  if (
    request.headers['transfer-encoding'] !== undefined ||
    Number(request.headers['content-length'] ?? 0) > 0
  )
    throw new AtollError('invalid_request', 'cannot upgrade a request that has a body; send it without one')
  const { access, presented } = await admit(deps, target, request)
  using _revocation = access.onRevoked(() => socket.destroy())
  const way = { deps, target, maskHost: access.maskHost, request, socket }
  const connection = await pool.open(target, gone, true)
  gone.addEventListener('abort', () => void connection.destroy(), { once: true })
  const headers = headersInward(request, target, access.maskHost)
  headers.push('Connection', 'Upgrade', 'Upgrade', request.headers.upgrade ?? 'websocket')
  const inner = ask({
    createConnection: () => connection,
    method: request.method ?? 'GET',
    path: presented.path,
    headers,
    maxHeaderSize: deps.limits.answerHeaderBytes,
  })
  await new Promise<void>((resolve, reject) => {
    const limit = limitAnswer(deps, target, inner)
    inner.once('upgrade', (answer, upgraded, first) => {
      limit[Symbol.dispose]()
      // From here on the bytes are the client's: no refusal of ours may get among them.
      inner.removeAllListeners('error').on('error', () => upgraded.destroy())
      socket.write(headOf(answer, way))
      if (first.length > 0) socket.write(first)
      if (head.length > 0) upgraded.write(head)
      join(way, upgraded).then(resolve, reject)
    })
    inner.once('response', (answer) => {
      limit[Symbol.dispose]()
      refused(answer, way).then(resolve, reject)
    })
    inner.once('error', reject)
    inner.once('close', () => limit[Symbol.dispose]())
    inner.end()
  }).finally(() => connection.destroy())
}

const headOf = (answer: IncomingMessage, { target, maskHost }: Way): string => {
  const headers = headersOutward(answer, target, maskHost)
  headers.push('Connection', 'Upgrade', 'Upgrade', answer.headers.upgrade ?? 'websocket')
  let text = 'HTTP/1.1 101 Switching Protocols\r\n'
  for (let index = 0; index + 1 < headers.length; index += 2)
    text += `${headers[index]}: ${headers[index + 1]}\r\n`
  return `${text}\r\n`
}

/** Both ways, each with its own end and its own backpressure; a fault of one cuts the other. */
const join = async ({ deps, socket }: Way, inside: Duplex): Promise<void> => {
  const cut = (): void => {
    socket.destroy()
    inside.destroy()
  }
  using silence = silenceTimer(deps.limits.silenceMs, cut)
  const closed = [socket, inside].map(
    (stream) => new Promise<void>((resolve) => stream.once('close', resolve)),
  )
  for (const [from, to] of [[socket, inside] as const, [inside, socket] as const]) {
    from.once('error', cut)
    from.once('close', () => {
      if (!from.readableEnded) cut()
    })
    from.on('data', () => silence.seen())
    from.pipe(to)
  }
  // The server inside has said all: what the client still sends would be read by nobody.
  inside.once('end', () => socket.end(() => socket.destroy()))
  await Promise.all(closed)
}

/** The server inside answered something else than 101: told as it is, and that ends the connection. */
const refused = async (
  answer: IncomingMessage,
  { target, maskHost, request, socket }: Way,
): Promise<void> => {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  if (!(socket instanceof Socket)) {
    socket.destroy()
    return
  }
  response.assignSocket(socket)
  response.writeHead(
    answer.statusCode ?? 502,
    answer.statusMessage ?? '',
    headersOutward(answer, target, maskHost),
  )
  try {
    for await (const chunk of answer) if (!response.write(chunk)) await drained(response)
    await new Promise<void>((resolve) => response.end(resolve))
    socket.end()
  } catch {
    // It began: a cut is the only way left to say that it is not whole.
    socket.destroy()
  }
}
