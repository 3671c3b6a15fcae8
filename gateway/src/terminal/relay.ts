import { PassThrough } from 'node:stream'
import { AtollError, terminalSizeSchema } from '@atoll/protocol'
import type { RawData, WebSocket } from 'ws'
import { z } from 'zod'
import { asciiJson } from '../answer.ts'
import { askGuest, jsonBody } from '../ask-guest.ts'
import type { GuestCall } from '../call.ts'
import { unboundedHeadersMs } from '../limits.ts'
import { isTerminal, type ProcessEvent } from '../processes/output-events.ts'

const resizeSchema = terminalSizeSchema.extend({ type: z.literal('resize') })

/**
 * A terminal over a WebSocket. Out: binary is output, text is an event; `{"type":"offset"}` says where the
 * next bytes stand, so that a client can come back there. In: binary is input, text is a resize.
 */
export const relayTerminal = async (
  call: GuestCall,
  client: WebSocket,
  events: AsyncGenerator<readonly ProcessEvent[]>,
): Promise<void> => {
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()))
  client.on('error', () => client.terminate())
  using _ping = keepAlive(client, call.deps.limits.terminalPingMs)
  const input = openInput(call, client)
  client.on('message', (data, isBinary) => {
    if (isBinary) input.write(data)
    else void resize(call, client, data)
  })
  try {
    const ended = await sendOutput(call, client, events)
    client.close(ended === 'error' ? 1011 : 1000, ended)
    await closed
  } finally {
    input.end()
  }
}

/** Sends until the terminal event, whose type is the answer. */
const sendOutput = async (
  call: GuestCall,
  client: WebSocket,
  events: AsyncGenerator<readonly ProcessEvent[]>,
): Promise<string> => {
  let next = -1
  for await (const batch of events)
    for (const event of batch) {
      if (client.readyState !== client.OPEN) return 'gone'
      if (!('bytes' in event)) {
        client.send(asciiJson(event))
        if (isTerminal(event)) return event.type
        continue
      }
      if (event.offset !== next) client.send(`{"type":"offset","offset":${event.offset}}`)
      next = event.offset + event.bytes.length
      await send(client, event.bytes, call.deps.limits.terminalBufferBytes)
    }
  return 'gone'
}

/** Sends bytes; over the limit it waits until they are out, which holds the guest's stream. */
const send = async (client: WebSocket, bytes: Uint8Array, maxBufferedBytes: number): Promise<void> => {
  if (client.bufferedAmount <= maxBufferedBytes) {
    client.send(bytes)
    return
  }
  await new Promise<void>((resolve) => {
    client.once('close', resolve)
    client.send(bytes, () => {
      client.off('close', resolve)
      resolve()
    })
  })
}

/** The way in: one stream to the guest's stdin, opened at the first byte; the client is held while it is full. */
const openInput = (call: GuestCall, client: WebSocket) => {
  let stream: PassThrough | undefined
  const open = (): PassThrough => {
    const body = new PassThrough()
    body.on('drain', () => client.resume())
    body.on('error', () => client.resume())
    const id = call.names[0] ?? ''
    askGuest(call, {
      method: 'POST',
      path: `/v1/processes/${id}/stdin?close=0`,
      body,
      holder: { kind: 'terminal', name: id },
      headersTimeoutMs: unboundedHeadersMs,
    }).then(
      (answer) => answer.body.destroy(),
      (error: unknown) => {
        body.destroy()
        tell(client, error)
      },
    )
    return body
  }
  return {
    write(data: RawData): void {
      if (stream === undefined || stream.destroyed) stream = open()
      if (!stream.write(toBuffer(data))) client.pause()
    },
    end: (): void => void stream?.end(),
  }
}

const resize = async (call: GuestCall, client: WebSocket, data: RawData): Promise<void> => {
  try {
    const text = toBuffer(data)
    if (text.length > call.deps.limits.terminalEventBytes)
      throw new AtollError('payload_too_large', 'a text message is over its limit; send input as binary')
    const { columns, rows } = parseResize(text)
    const path = `/v1/processes/${call.names[0]}/resize`
    const answer = await askGuest(call, { method: 'POST', path, ...jsonBody({ columns, rows }) })
    answer.body.destroy()
  } catch (error) {
    tell(client, error)
  }
}

const parseResize = (text: Buffer): z.infer<typeof resizeSchema> => {
  try {
    return resizeSchema.parse(JSON.parse(text.toString()))
  } catch {
    throw new AtollError(
      'invalid_request',
      'a text message must be {"type":"resize","columns","rows"}; send input as binary',
    )
  }
}

const tell = (client: WebSocket, error: unknown): void => {
  if (client.readyState !== client.OPEN) return
  const told = error instanceof AtollError ? error : new AtollError('internal', 'a fault of ours')
  client.send(asciiJson({ type: 'refused', error: told.toBody() }))
}

const toBuffer = (data: RawData): Buffer => {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}

/** Pings; a client that missed two is gone. */
const keepAlive = (client: WebSocket, everyMs: number): Disposable => {
  let missed = 0
  client.on('pong', () => void (missed = 0))
  const timer = setInterval(() => {
    missed += 1
    if (missed > 2) client.terminate()
    else client.ping()
  }, everyMs)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
