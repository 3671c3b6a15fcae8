import type { ClientRequest } from 'node:http'
import { AtollError } from '@atoll/protocol'
import type { PortDeps, PortTarget } from './port-deps.ts'

/** Gives up a request whose answer does not come in time, or is announced again and again. Disposed, it is over. */
export const limitAnswer = (deps: PortDeps, target: PortTarget, inner: ClientRequest): Disposable => {
  const { answerMs, interimAnswers } = deps.limits
  const late = setTimeout(
    () => inner.destroy(faultOf('deadline_guest', target, `did not answer within ${answerMs} ms`)),
    answerMs,
  )
  late.unref()
  let interim = 0
  inner.on('information', () => {
    if (++interim > interimAnswers)
      inner.destroy(faultOf('stream_broken', target, 'sends interim answers and no answer'))
  })
  return { [Symbol.dispose]: () => clearTimeout(late) }
}

/** A fault of the server inside. */
export const faultOf = (
  code: 'deadline_guest' | 'stream_broken',
  { sandbox, port }: PortTarget,
  what: string,
): AtollError => new AtollError(code, `port ${port} of ${sandbox} ${what}; look at the server there`)
