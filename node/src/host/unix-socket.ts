import { open } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { basename, dirname } from 'node:path'

/** Longest path that the kernel takes for a unix socket, bytes. */
const socketPathBytes = 107

/** Connects to a unix socket, also below a long path: then by way of a descriptor of its folder. */
export const connectUnix = async (path: string, signal: AbortSignal): Promise<Socket> => {
  signal.throwIfAborted()
  if (Buffer.byteLength(path) <= socketPathBytes) return await connected(path, signal)
  await using folder = await open(dirname(path))
  return await connected(`/proc/self/fd/${folder.fd}/${basename(path)}`, signal)
}

const connected = (path: string, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(path)
    const settle = (fault?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('connect', onConnect)
      socket.off('error', settle)
      if (fault === undefined) return resolve(socket)
      socket.on('error', () => undefined)
      socket.destroy()
      reject(fault instanceof Error ? fault : new Error(`connecting to ${path} was given up`))
    }
    const onConnect = (): void => settle()
    const onAbort = (): void => settle(signal.reason ?? new Error('aborted'))
    socket.once('connect', onConnect)
    socket.once('error', settle)
    signal.addEventListener('abort', onAbort, { once: true })
  })
