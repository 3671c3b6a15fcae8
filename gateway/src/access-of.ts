import type { IncomingMessage } from 'node:http'
import type { AccessRequest } from './call.ts'
import type { Match } from './match-path.ts'

/** What authorization is asked for a request. */
export const accessOf = (
  request: IncomingMessage,
  match: Match,
  access: AccessRequest['access'],
): AccessRequest => ({
  sandbox: match.sandbox,
  access,
  authorization: request.headers.authorization,
  token: match.query.get('token') ?? undefined,
  remoteAddress: request.socket.remoteAddress ?? 'unknown',
})
