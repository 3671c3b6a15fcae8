import { AtollError } from '@atoll/protocol'
import { toAtollError } from '../answer.ts'
import { faultOf } from './answer-limits.ts'
import type { PortDeps, PortTarget } from './port-deps.ts'

/** What went wrong on the way to a port, with what a person can do about it. */
export const explain = (deps: PortDeps, target: PortTarget, thrown: unknown, traceId: string): AtollError => {
  if (!(thrown instanceof AtollError)) {
    if (isWire(thrown))
      return faultOf(
        'stream_broken',
        target,
        'broke the connection off, or answered something that is no HTTP',
      )
    return toAtollError(thrown, deps.logger, traceId)
  }
  const { sandbox, port } = target
  if (thrown.code === 'connection_refused')
    return new AtollError(
      'connection_refused',
      `nothing listens on port ${port} of ${sandbox}: start a server there, on 127.0.0.1 or on all addresses`,
      { remedy: `atoll sandbox exec -d ${sandbox} -- python3 -m http.server ${port}` },
    )
  if (thrown.code === 'state_conflict' && thrown.remedy === undefined)
    return new AtollError('state_conflict', thrown.message, {
      retryable: thrown.retryable,
      remedy: remedyOf(thrown.sandboxState, sandbox),
      ...(thrown.sandboxState === undefined ? {} : { sandboxState: thrown.sandboxState }),
      ...(thrown.details === undefined ? {} : { details: thrown.details }),
    })
  return thrown
}

const remedyOf = (state: string | undefined, sandbox: string): string =>
  state === 'stopped' || state === 'paused' ? `atoll sandbox resume ${sandbox}` : 'try again in a moment'

/** An error of node:http about what came over the wire. */
const isWire = (thrown: unknown): boolean => {
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
  return (
    code.startsWith('HPE_') || code === 'ECONNRESET' || code === 'EPIPE' || code.startsWith('ERR_STREAM_')
  )
}
