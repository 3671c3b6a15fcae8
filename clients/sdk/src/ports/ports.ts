import type { CreatePortLinkInput, Port, PortLink, SetPortInput } from '@atoll/protocol'
import type { CallOptions, Connection } from '../connection/connection.ts'
import { openTunnel, type PortConnection } from './tunnel.ts'

/** The ports of a sandbox: private until `set` says otherwise, reached by name, by link or by tunnel. */
export interface Ports {
  /** Where a browser finds a port; a private one needs a `link`. */
  url(port: number, options?: CallOptions): Promise<string>
  /** Who may reach a port, and where it is. */
  get(port: number, options?: CallOptions): Promise<Port>
  /** Those whose settings are not the default. */
  list(options?: CallOptions): Promise<readonly Port[]>
  /** Sets all of a port's settings; what is left out gets its default, which is private. */
  set(port: number, settings: SetPortInput, options?: CallOptions): Promise<Port>
  /** A link that opens this port, and nothing else, for an hour or as long as is asked (a second to a week). */
  link(port: number, options?: CallOptions & CreatePortLinkInput): Promise<PortLink>
  /** A TCP connection to a port, for any protocol. `connection_refused` when nothing listens. */
  connect(port: number, options?: CallOptions): Promise<PortConnection>
}

export const portsOf = (connection: Connection, sandbox: string): Ports => {
  const path = `/v1/sandboxes/${sandbox}/ports`
  const get = (port: number, options: CallOptions = {}): Promise<Port> =>
    connection.json<Port>({
      ...options,
      method: 'GET',
      path: `${path}/${port}`,
      act: `read port ${port} of ${sandbox}`,
    })
  const link = (port: number, options: CallOptions & CreatePortLinkInput = {}): Promise<PortLink> => {
    const { expiresInMs, path: page, ...own } = options
    const json = {
      ...(expiresInMs === undefined ? {} : { expiresInMs }),
      ...(page === undefined ? {} : { path: page }),
    }
    const act = `make a link to port ${port} of ${sandbox}`
    return connection.json<PortLink>({ ...own, method: 'POST', path: `${path}/${port}/links`, json, act })
  }
  return {
    get,
    link,
    url: async (port, options) => (await get(port, options)).url,
    async list(options = {}) {
      const act = `list the ports of ${sandbox}`
      return (await connection.json<{ ports: Port[] }>({ ...options, method: 'GET', path, act })).ports
    },
    set: (port, settings, options = {}) =>
      connection.json<Port>({
        ...options,
        method: 'PUT',
        path: `${path}/${port}`,
        json: settings,
        act: `set port ${port} of ${sandbox}`,
      }),
    connect: async (port, options = {}) => {
      // Good for this port alone, and for long enough to connect: it stands in the request for the WebSocket.
      const { token } = await link(port, { ...options, expiresInMs: tokenMs })
      return await openTunnel(connection, { sandbox, port, token, signal: options.signal })
    },
  }
}

const tokenMs = 60_000
