import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { AtollError } from '@atoll/protocol'
import { errorHeaders } from '../answer.ts'

/** How the gateway says itself that it could not: as JSON, and as a page where a browser asks for one. */
export const refusalOf = (error: AtollError, request: IncomingMessage, traceId: string) => {
  const page = /\btext\/html\b/.test(request.headers.accept ?? '')
  const body = page ? pageOf(error, traceId) : JSON.stringify(error.toBody(traceId))
  return {
    // To the client we are a gateway, whatever the same fault is to a caller of the API.
    status: error.code === 'connection_refused' ? 502 : error.status,
    headers: {
      ...errorHeaders(error, traceId),
      // Tells our answer from one of the server inside, whose headers of that kind are withheld.
      'x-atoll-error': error.code,
      'content-type': page ? 'text/html; charset=utf-8' : 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
    },
    body,
  }
}

/** Answers a request; once the answer has begun, the only truth left is to cut it. */
export const refuse = (
  response: ServerResponse,
  error: AtollError,
  request: IncomingMessage,
  traceId: string,
): void => {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const { status, headers, body } = refusalOf(error, request, traceId)
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.writeHead(status, request.complete ? headers : { ...headers, connection: 'close' })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** Answers an upgrade that did not come about. */
export const refuseUpgrade = (
  socket: Duplex,
  error: AtollError,
  request: IncomingMessage,
  traceId: string,
): void => {
  if (socket.destroyed) return
  const { status, headers, body } = refusalOf(error, request, traceId)
  const lines = Object.entries({ ...headers, connection: 'close' }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n${lines.join('')}\r\n${body}`)
}

const titles: Readonly<Record<string, string>> = {
  connection_refused: 'Nothing listens on this port',
  sandbox_ended: 'This sandbox has ended',
  unauthenticated: 'This port is private',
  forbidden: 'This port is not open to you',
  not_found: 'There is no such sandbox',
  state_conflict: 'This sandbox is not running',
  overloaded: 'Too many connections',
  rate_limited: 'Too many requests',
}

const pageOf = (error: AtollError, traceId: string): string => {
  const title = escaped(titles[error.code] ?? 'This port cannot be reached')
  const remedy = error.remedy === undefined ? '' : `<p><code>${escaped(error.remedy)}</code></p>`
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:15vh auto;padding:0 1em;color:#222}
code{background:#eee;padding:.2em .4em}small{color:#777}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}code{background:#333}}</style>
<h1>${title}</h1><p>${escaped(error.message)}</p>${remedy}
<p><small>Atoll · ${escaped(error.code)} · ${escaped(traceId)}</small></p></html>
`
}

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
