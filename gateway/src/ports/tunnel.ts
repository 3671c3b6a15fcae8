import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  AtollError,
  parsePortHostLabel,
  portHostLabel,
  portNames,
  type TunnelMessage,
  tunnelMessageSchema,
  tunnelWindowBytes,
} from '@atoll/protocol'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { admit } from './admit.ts'
import { explain } from './explain.ts'
import type { Pool } from './pool.ts'
import type { PortDeps, PortTarget } from './port-deps.ts'
import { silenceTimer } from './silence.ts'

/** The port that a tunnel is asked for; undefined for every other path. */
export const tunnelTarget = (url: string, secure: boolean): PortTarget | undefined => {
  const path = url.split('?', 1)[0] ?? ''
  const match = /^\/v1\/sandboxes\/(sbx_[a-z2-7]{20})\/ports\/([1-9]\d{0,4})\/tunnel$/.exec(path)
  const [, sandbox, port] = match ?? []
  if (sandbox === undefined || port === undefined) return undefined
  const named = parsePortHostLabel(portHostLabel(sandbox, Number(port)))
  return named === undefined ? undefined : { ...named, publicHost: null, secure }
}

/** Takes tunnels: one TCP connection to a port for each WebSocket. */
export const tunnelServer = (deps: PortDeps, pool: Pool) => {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: deps.limits.tunnelMessageBytes,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(portNames.tunnelProtocol) ? portNames.tunnelProtocol : false),
  })
  return {
    async open(
      target: PortTarget,
      request: IncomingMessage,
      socket: Duplex,
      head: Buffer,
      gone: AbortSignal,
    ): Promise<void> {
      const { access } = await admit(deps, target, request, true)
      const inside = await pool
        .open(target, gone, true)
        .catch((error: unknown) => explain(deps, target, error, ''))
      if (!(inside instanceof AtollError))
        gone.addEventListener('abort', () => void inside.destroy(), { once: true })
      server.handleUpgrade(request, socket, head, (client) => {
        client.on('error', () => client.terminate())
        if (inside instanceof AtollError) {
          send(client, { type: 'refused', error: inside.toBody() })
          client.close(1011, inside.code)
          return
        }
        const revocation = access.onRevoked(() => client.close(1008, 'the key was revoked'))
        client.once('close', () => revocation[Symbol.dispose]())
        send(client, { type: 'connected' })
        relayTunnel(deps, client, inside)
      })
    },
    close(): void {
      for (const client of server.clients) client.close(1001, 'the gateway stops')
    },
  }
}

/** Bytes as binary messages, ends as text. Each side sends at most a window more than the other has taken. */
const relayTunnel = (deps: PortDeps, client: WebSocket, inside: Duplex): void => {
  const ping = setInterval(() => client.ping(), deps.limits.tunnelPingMs)
  ping.unref()
  const silence = silenceTimer(deps.limits.silenceMs, () => client.terminate())
  inside.on('data', () => silence.seen())
  client.on('message', () => silence.seen())
  client.once('close', () => {
    clearInterval(ping)
    silence[Symbol.dispose]()
    inside.destroy()
  })
  outward(client, inside)
  inward(client, inside)
  inside.once('close', () => {
    if (!inside.readableEnded) client.close(1011, 'the connection broke')
  })
}

/** From the sandbox to the client, held at a window that the client has not taken yet. */
const outward = (client: WebSocket, inside: Duplex): void => {
  let open = tunnelWindowBytes
  inside.on('data', (chunk: Buffer) => {
    open -= chunk.length
    client.send(chunk)
    if (open <= 0) inside.pause()
  })
  inside.once('end', () => {
    send(client, { type: 'end' })
    // The agent carries a connection to the end of the server's side: what still comes would reach nobody.
    client.close(1000, 'the server inside ended the connection')
  })
  inside.on('error', () => undefined)
  client.on('message', (data, isBinary) => {
    if (isBinary) return
    const message = readMessage(data)
    if (message === undefined || message.type === 'refused' || message.type === 'connected')
      return client.close(1003, 'a text message must be an end or a taken')
    if (message.type === 'end') return void inside.end()
    open += message.bytes
    if (open > 0) inside.resume()
  })
}

/** From the client to the sandbox; every byte that the sandbox took opens the window again. */
const inward = (client: WebSocket, inside: Duplex): void => {
  let under = 0
  client.on('message', (data, isBinary) => {
    if (!isBinary) return
    const bytes = toBuffer(data)
    under += bytes.length
    if (under > 2 * tunnelWindowBytes) return client.close(1008, 'more was sent than the window has room for')
    if (inside.writableEnded || inside.destroyed || bytes.length === 0) return
    inside.write(bytes, (error) => {
      under -= bytes.length
      if (error === null || error === undefined) send(client, { type: 'taken', bytes: bytes.length })
    })
  })
}

const send = (client: WebSocket, message: TunnelMessage): void => {
  if (client.readyState === client.OPEN) client.send(JSON.stringify(message))
}

const readMessage = (data: RawData): TunnelMessage | undefined => {
  const bytes = toBuffer(data)
  if (bytes.length > 256) return undefined
  try {
    return tunnelMessageSchema.safeParse(JSON.parse(bytes.toString())).data
  } catch {
    return undefined
  }
}

const toBuffer = (data: RawData): Buffer => {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}
