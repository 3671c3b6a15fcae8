import { isIP } from 'node:net'
import { AtollError } from '@atoll/protocol'

/** Where `atoll up` listens unless it is told otherwise. */
export const defaultPort = 7171
const loopback = '127.0.0.1'

export interface Address {
  readonly host: string
  readonly port: number
}

/** `--port` moves it on loopback; only `--listen host:port` can leave loopback (invariant 14). */
export const addressOf = (options: { port?: string | undefined; listen?: string | undefined }): Address => {
  if (options.listen === undefined)
    return { host: loopback, port: portOf(options.port ?? String(defaultPort), '--port') }
  if (options.port !== undefined)
    throw new AtollError(
      'invalid_request',
      'cannot take --port and --listen together: give the port in --listen',
    )
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(options.listen)
  const host = match?.[1] ?? match?.[2]
  if (match?.[3] === undefined || host === undefined || (isIP(host) === 0 && host !== 'localhost'))
    throw new AtollError(
      'invalid_request',
      `cannot listen on ${options.listen}: give an address and a port, like 10.0.0.5:7171`,
    )
  return { host, port: portOf(match[3], '--listen') }
}

/** True where only this machine can connect. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)

/** How a client on this machine reaches it. */
export const urlOf = ({ host, port }: Address, tls = false): string => {
  const reachable = host === '0.0.0.0' ? loopback : host === '::' ? '::1' : host
  return `${tls ? 'https' : 'http'}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}

const portOf = (text: string, option: string): number => {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    throw new AtollError(
      'invalid_request',
      `cannot use ${JSON.stringify(text)} as the port of ${option}: give 0 to 65535`,
    )
  return port
}
