import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Atoll } from '../src/index.ts'

/** A request as it came in. */
export interface Seen {
  readonly method: string
  readonly url: URL
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

type Answer = (res: ServerResponse, seen: Seen) => void

/** A real HTTP server that answers each request by the next entry of a script: for failures that cannot be ordered. */
export const scriptedServer = async (
  script: readonly Answer[],
): Promise<{ atoll: Atoll; seen: Seen[] } & AsyncDisposable> => {
  const seen: Seen[] = []
  const server = createServer((req, res) => {
    let body = ''
    req.setEncoding('utf8')
    req.on('data', (text: string) => {
      body += text
    })
    req.on('end', () => {
      const url = new URL(req.url ?? '/', 'http://server')
      const one = { method: req.method ?? '', url, headers: req.headers, body }
      const answer = script[seen.length]
      seen.push(one)
      if (answer === undefined) res.writeHead(418).end('the script has ended')
      else answer(res, one)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    atoll: new Atoll({ baseUrl: `http://127.0.0.1:${port}`, apiKey: 'atoll_test_key' }),
    seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const json =
  (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  (res) =>
    void res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))

/** NDJSON lines; `cut` breaks the connection instead of ending the stream. */
export const ndjson =
  (lines: readonly unknown[], cut: 'end' | 'cut' | 'stay' = 'end'): Answer =>
  (res) => {
    res.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    if (cut === 'end') res.end(text)
    // Written out before the cut, or the client would see no line at all.
    else res.write(text, () => (cut === 'cut' ? setImmediate(() => res.destroy()) : undefined))
  }

export const cutConnection: Answer = (res) => void res.destroy()

export const processRecord = {
  id: 'p1',
  pid: 7,
  argv: ['x'],
  user: 'user',
  cwd: '/',
  terminal: false,
  state: 'running',
  startedAtMs: 1,
  log: { start: 0, end: 0 },
  exit: null,
}

export const exitOf = (code: number | null, more: object = {}): object => ({
  code,
  signal: code === null ? 'SIGKILL' : null,
  timedOut: false,
  killed: false,
  oom: false,
  limits: [],
  survivorsKilled: 0,
  survivorsKept: 0,
  durationMs: 1,
  cpuMs: 1,
  peakMemoryBytes: 1,
  endedAtMs: 2,
  ...more,
})

export const out = (type: 'stdout' | 'stderr', offset: number, text: string): object => ({
  type,
  offset,
  data: Buffer.from(text).toString('base64'),
})

export const sandboxRecord = {
  id: 'sbx_aaaaaaaaaaaaaaaaaaaa',
  state: 'running',
  isolation: { runtime: 'simulated' },
}
