import { createConnection, type Socket } from 'node:net'

/** Longest wait for an answer on a unix socket, ms. */
const answerMs = 5_000

/** A connected unix socket. */
export const connect = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      // What comes after is the attack's own doing: a reset is an answer too.
      socket.on('error', () => undefined)
      resolve(socket)
    })
    socket.once('error', reject)
  })

/** Sends bytes and gives the first line that comes back; empty when the other side closed. */
export const request = async (path: string, bytes: string): Promise<string> => {
  const socket = await connect(path)
  return await new Promise((resolve) => {
    let text = ''
    const done = (): void => {
      socket.destroy()
      resolve(text)
    }
    socket.on('data', (chunk) => {
      text += chunk.toString()
      if (text.includes('\n')) done()
    })
    socket.on('close', done)
    socket.setTimeout(answerMs, done)
    socket.write(bytes)
  })
}
