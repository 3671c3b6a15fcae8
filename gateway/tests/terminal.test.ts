import { once } from 'node:events'
import { expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { startStack } from './start-stack.ts'

/** A client that gathers what it is sent. */
const open = async (
  url: string,
  options: { protocols?: string[]; headers?: Record<string, string> } = {},
) => {
  const socket = new WebSocket(url, options.protocols ?? [], { headers: options.headers ?? {} })
  let bytes = ''
  const events: Record<string, unknown>[] = []
  socket.on('message', (data: Buffer, isBinary) => {
    if (isBinary) bytes += data.toString()
    else events.push(JSON.parse(data.toString()))
  })
  const closed = once(socket, 'close').then(([code]) => code as number)
  await once(socket, 'open')
  return { socket, events, closed, text: () => bytes }
}

it('carries a terminal both ways and tells its end', async () => {
  await using stack = await startStack()
  await stack.call('POST', '/processes', { id: 't', argv: ['cat'], stdin: 'pipe' })
  const url = `ws://127.0.0.1:${stack.port}${stack.home}/processes/t/terminal`
  const client = await open(url, { headers: { authorization: stack.authorization } })
  client.socket.send(Buffer.from('hello '))
  client.socket.send(Buffer.from('there'))
  await expect.poll(client.text).toBe('hello there')
  expect(client.events[0]).toEqual({ type: 'offset', offset: 0 })
  client.socket.send(JSON.stringify({ type: 'resize', columns: 100, rows: 40 }))
  client.socket.send('not json')
  await expect
    .poll(() => client.events.at(-1))
    .toMatchObject({ type: 'refused', error: { code: 'invalid_request' } })

  const { token } = JSON.parse(
    await (await stack.raw('POST', `${stack.home}/tokens`, { ttlMs: 60_000, access: 'use' })).text(),
  )
  const again = await open(`${url}?offset=6&token=${token}`)
  await expect.poll(again.text).toBe('there')
  const browser = await open(url, { protocols: ['atoll.terminal', `atoll.token.${token}`] })
  expect(browser.socket.protocol).toBe('atoll.terminal')
  await stack.call('POST', '/processes/t/signal', { signal: 'SIGKILL' })
  expect(await client.closed).toBe(1000)
  expect(client.events.at(-1)).toMatchObject({ type: 'exit', exit: { killed: true } })
  expect(await again.closed).toBe(1000)
})

it('refuses an upgrade with a status and the envelope', async () => {
  await using stack = await startStack()
  await stack.call('POST', '/processes', { id: 't', argv: ['sleep', '100'] })
  const { token } = JSON.parse(
    await (await stack.raw('POST', `${stack.home}/tokens`, { ttlMs: 60_000, access: 'read' })).text(),
  )
  const refusal = async (path: string, headers: Record<string, string> = {}): Promise<unknown> => {
    const socket = new WebSocket(`ws://127.0.0.1:${stack.port}${stack.home}${path}`, { headers })
    socket.on('error', () => {})
    const [, response] = await once(socket, 'unexpected-response')
    let text = ''
    for await (const chunk of response) text += chunk
    return [response.statusCode, JSON.parse(text).code]
  }
  const own = { authorization: stack.authorization }
  expect(await refusal('/processes/t/terminal')).toEqual([401, 'unauthenticated'])
  expect(await refusal(`/processes/t/terminal?token=${token}`)).toEqual([403, 'forbidden'])
  expect(await refusal('/processes/none/terminal', own)).toEqual([404, 'process_not_found'])
  expect(await refusal('/processes/t/terminal?offset=x', own)).toEqual([400, 'invalid_request'])
})

it('lets the process go on when the client leaves', async () => {
  await using stack = await startStack()
  await stack.call('POST', '/processes', { id: 't', argv: ['cat'], stdin: 'pipe' })
  const url = `ws://127.0.0.1:${stack.port}${stack.home}/processes/t/terminal`
  const client = await open(url, { headers: { authorization: stack.authorization } })
  client.socket.send(Buffer.from('x'))
  await expect.poll(client.text).toBe('x')
  client.socket.terminate()
  await client.closed
  expect((await stack.call('GET', '/processes/t')).body.state).toBe('running')
})
