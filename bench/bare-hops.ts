import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { Atoll, type Sandbox } from '@atoll/sdk'

const chunk = Buffer.alloc(1024 * 1024, 120)

/**
 * The same way without Atoll on it: the SDK, an HTTP relay (the daemon's place), a relay of bytes (the shim's), a
 * sink (the guest's), four processes. No authentication, no frames, no HTTP/2, no sandbox, no hash, no disk.
 */
export interface BareHops extends AsyncDisposable {
  /** The SDK's handle, whose files go over the bare way. */
  readonly sandbox: Sandbox
}

/** Starts the three processes; `bytes` is what a read answers, `info` what the SDK is told of the sandbox. */
export const bareHops = async (bytes: number, info: object): Promise<BareHops> => {
  const folder = await mkdtemp('/tmp/atoll-hops-')
  const children: ChildProcess[] = []
  const start = async (...args: readonly string[]): Promise<unknown> => {
    const child = fork(fileURLToPath(import.meta.url), args)
    children.push(child)
    return (await once(child, 'message'))[0]
  }
  const end = async (): Promise<void> => {
    for (const child of children) child.kill()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const [sinkPath, shimPath] = [join(folder, 'sink'), join(folder, 'shim')]
    await start('sink', sinkPath, String(bytes))
    await start('shim', shimPath, sinkPath)
    const port = await start('relay', shimPath, String(bytes), JSON.stringify(info))
    const atoll = new Atoll({ baseUrl: `http://127.0.0.1:${String(port)}`, apiKey: 'none' })
    return { sandbox: await atoll.sandboxes.connect('bare'), [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

/** Takes bytes to their end and answers how many, or gives bytes: the first byte says which. */
const sink = (socket: Socket, bytes: number): void => {
  let received = 0
  socket.once('data', (first) => {
    if (first.toString('latin1', 0, 1) === 'r') return void give(socket, bytes)
    received += first.length - 1
    socket.on('data', (data) => (received += data.length))
    socket.once('end', () => socket.end(String(received)))
  })
}

const give = async (socket: Socket, bytes: number): Promise<void> => {
  for (let left = bytes; left > 0; left -= chunk.length)
    if (!socket.write(left < chunk.length ? chunk.subarray(0, left) : chunk)) await once(socket, 'drain')
  socket.end()
}

/** Answers what the SDK asks for: the sandbox, a file's bytes, or a receipt. */
const relay = async (
  request: IncomingMessage,
  response: ServerResponse,
  to: string,
  bytes: number,
  info: string,
): Promise<void> => {
  if (!request.url?.includes('/files')) return void response.end(info)
  const socket = connect({ path: to, allowHalfOpen: true })
  if (request.method === 'GET') {
    socket.end('r')
    response.writeHead(200, { 'content-length': bytes })
    return await pipeline(socket, response)
  }
  socket.write('w')
  let receipt = ''
  socket.on('data', (data) => (receipt += data.toString()))
  const answered = once(socket, 'end')
  await pipeline(request, socket)
  await answered
  response.end(JSON.stringify({ path: '', size: Number(receipt), sha256: '', mode: 0, uid: 0, gid: 0 }))
}

const run = async ([role, path = '', ...rest]: readonly string[]): Promise<void> => {
  const tell = (what: unknown): void => void process.send?.(what)
  const failed = (error: unknown): void => console.error(`bare ${role}: ${String(error)}`)
  const halfOpen = { allowHalfOpen: true }
  if (role === 'sink')
    createServer(halfOpen, (socket) => sink(socket, Number(rest[0]))).listen(path, () => tell(path))
  if (role === 'shim')
    createServer(halfOpen, (socket) => {
      const onward = connect({ path: rest[0] ?? '', ...halfOpen })
      Promise.all([pipeline(socket, onward), pipeline(onward, socket)]).catch(failed)
    }).listen(path, () => tell(path))
  if (role !== 'relay') return
  const [bytes = '', info = ''] = rest
  const server = createHttpServer({ highWaterMark: 256 * 1024 }, (request, response) => {
    relay(request, response, path, Number(bytes), info).catch(failed)
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    tell(typeof address === 'object' ? address?.port : undefined)
  })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await run(process.argv.slice(2))
