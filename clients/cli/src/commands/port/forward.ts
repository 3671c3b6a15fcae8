import { createServer, type Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { AtollError, isAtollError, type Sandbox } from '@atoll/sdk'
import { Command } from 'commander'
import type { Printer } from '../../output/print.ts'
import { perform } from '../../perform.ts'
import { parsePortPair } from './port-number.ts'

/** Connections at a time; a sandbox takes 128 of all its clients. */
const maxConnections = 100

export const portForwardCommand = (): Command =>
  new Command('forward')
    .description('listen on this machine, on loopback, and carry each connection to a port inside')
    .argument('<sandbox>', 'sandbox')
    .argument('<local[:inside]>', 'port here (0: a free one) and port inside', parsePortPair)
    .action((id: string, ports: ReturnType<typeof parsePortPair>, _flags: unknown, command: Command) =>
      perform(command, async ({ atoll, print, signal }) => {
        const sandbox = await atoll.sandboxes.connect(id, { signal })
        await forward(sandbox, ports, print, signal)
      }),
    )

/** Until the signal. A connection that fails is told, and the others go on. */
const forward = async (
  sandbox: Sandbox,
  { local, inside }: ReturnType<typeof parsePortPair>,
  print: Printer,
  signal: AbortSignal,
): Promise<void> => {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    carry(sandbox, inside, socket, signal).catch((error: unknown) => {
      socket.destroy()
      // A client that goes in the middle is its own business.
      if (!signal.aborted && isAtollError(error)) print.error(error)
    })
  })
  server.maxConnections = maxConnections
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new AtollError('in_use', `cannot listen on 127.0.0.1:${local}: ${error.message}; give another port`),
      ),
    )
    server.listen(local, '127.0.0.1', resolve)
  })
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : local
  print.item(
    { local: port, inside, sandbox: sandbox.id },
    () => `127.0.0.1:${port} leads to port ${inside} of ${sandbox.id}; Ctrl-C ends it`,
  )
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  server.close()
  for (const socket of sockets) socket.destroy()
}

/** Both ways at once, each with its own end: a client that has said everything may still get its answer. */
const carry = async (sandbox: Sandbox, port: number, socket: Socket, signal: AbortSignal): Promise<void> => {
  await using connection = await sandbox.ports.connect(port, { signal })
  // What breaks the way in breaks the way out as well, and there it is told.
  pipeline(socket, Writable.fromWeb(connection.writable)).catch(() => undefined)
  await pipeline(Readable.fromWeb(connection.readable as never), socket)
  // The server inside ended the connection: what the client still says would reach nobody.
  socket.destroy()
}
