import { AtollError, type GuestResponse } from '@atoll/protocol'
import { askGuest } from '../ask-guest.ts'
import type { Call } from '../call.ts'
import { explainBreak } from './explain-break.ts'
import { writeInput } from './input.ts'
import { errorEvent, isTerminal, outputEvents, type ProcessEvent } from './output-events.ts'
import type { Start } from './start-request.ts'

/** Ends a process and its tree. */
export const killProcess = async (call: Call, id: string): Promise<void> => {
  const headersTimeoutMs = call.deps.limits.nodeGraceMs
  const answer = await askGuest(call, { method: 'DELETE', path: `/v1/processes/${id}`, headersTimeoutMs })
  answer.body.destroy()
}

/** A process that was started, with its output open. */
export interface Running {
  readonly status: number
  readonly events: AsyncGenerator<readonly ProcessEvent[]>
}

/**
 * Starts a process and follows it in one round trip. The input is written beside, for a process that
 * writes before it has read all would wait for a reader otherwise. The node's own deadline ends what the
 * guest should have ended before (invariant 5).
 */
export const startAndFollow = async (call: Call, start: Start): Promise<Running> => {
  const answer = await askGuest(call, start.request)
  return { status: answer.status, events: explainBreak(call, supervise(call, start, answer)) }
}

const supervise = async function* (
  call: Call,
  start: Start,
  answer: GuestResponse,
): AsyncGenerator<readonly ProcessEvent[]> {
  const ended = new AbortController()
  let fault: AtollError | undefined
  const fail = (error: AtollError): void => {
    fault ??= error
    answer.body.destroy(error)
  }
  if (start.body.input !== undefined && call.deps.inputs.claim(call.sandbox, start.id, answer.status === 201))
    writeInput(call, start, ended.signal).catch((error: unknown) => fail(inputFault(error)))
  const timer = armDeadline(call, start, fail)
  try {
    for await (const events of outputEvents(answer.body, true, call.deps.limits, call.gone)) {
      const last = events.at(-1)
      yield last?.type === 'error' && fault !== undefined
        ? [...events.slice(0, -1), errorEvent(fault)]
        : events
      if (last !== undefined && isTerminal(last)) return
    }
  } finally {
    clearTimeout(timer)
    ended.abort()
  }
}

const inputFault = (error: unknown): AtollError =>
  new AtollError(
    'stream_broken',
    `cannot write the input: ${error instanceof AtollError ? error.message : 'a fault'}`,
  )

const armDeadline = (
  call: Call,
  start: Start,
  fail: (error: AtollError) => void,
): NodeJS.Timeout | undefined => {
  if (start.body.timeoutMs === undefined) return undefined
  const { limits, logger } = call.deps
  const totalMs = Math.min(start.body.timeoutMs + limits.nodeGraceMs, 2 ** 31 - 1)
  return setTimeout(() => {
    killProcess(call, start.id)
      .catch((error: unknown) =>
        logger.warn(
          { sandbox: call.sandbox, process: start.id, error: String(error) },
          'cannot end a process at its deadline',
        ),
      )
      .finally(() =>
        fail(
          new AtollError(
            'deadline_node',
            `process ${start.id} did not end within ${totalMs} ms: its deadline of ${start.body.timeoutMs} ms and the node's grace; it was told to end`,
          ),
        ),
      )
  }, totalMs)
}
