import { setTimeout as sleep } from 'node:timers/promises'
import { AtollError, limits, type NodeSandboxSpec, type Process, processSchema } from '@atoll/protocol'
import { jsonBody } from '../guest/calls.ts'
import type { GuestConnection } from '../guest/connection.ts'
import { readJson } from '../guest/read-json.ts'
import { machineLimits } from './limits.ts'

/** Its process in the sandbox: listed like any other, and no holder, since it runs in each sandbox of the template. */
export const startProcessId = 'start'

/**
 * Runs what the template says that each sandbox starts, and waits until its ready command ends with code 0. A
 * command that cannot start, or is not ready in time, fails the start of the sandbox and says which and why.
 */
export const runStartCommand = async (
  guest: GuestConnection,
  { id, start, ready }: Pick<NodeSandboxSpec, 'id' | 'start' | 'ready'>,
  signal: AbortSignal,
): Promise<void> => {
  if (start !== null) await begin(guest, startProcessId, start, 'keep', signal)
  if (ready === null) return
  // A template may be older than the limit; beyond it the creation would end first and not say why.
  const withinMs = Math.min(ready.timeoutMs, limits.readyTimeoutMaxMs)
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(withinMs)])
  let last = 'it was never run'
  for (let attempt = 0; ; attempt++) {
    try {
      const { exit } = await runOnce(guest, `ready-${attempt}`, ready.argv, deadline)
      if (exit?.code === 0) return
      last = exit === null ? 'it has no end' : `it ended with ${exit.signal ?? `code ${exit.code}`}`
      await refuseFailedStart(guest, id, start, deadline)
      await sleep(machineLimits.readyEveryMs, undefined, { signal: deadline })
    } catch (error) {
      signal.throwIfAborted()
      if (!deadline.aborted) throw error
      throw new AtollError(
        'exec_failed',
        `cannot start ${id}: its template's ready command (${ready.argv[0]}) did not succeed within ${withinMs} ms; ${last}; mend the template's start or ready command`,
        { cause: error },
      )
    }
  }
}

/** A start command may end well and leave a daemon behind; one that failed makes waiting pointless. */
const refuseFailedStart = async (
  guest: GuestConnection,
  id: string,
  start: NodeSandboxSpec['start'],
  signal: AbortSignal,
): Promise<void> => {
  if (start === null) return
  const response = await guest.request({ method: 'GET', path: `/v1/processes/${startProcessId}`, signal })
  const { exit } = await readJson(response, processSchema, "cannot read the start command's state")
  if (exit === null || exit.code === 0) return
  throw new AtollError(
    'exec_failed',
    `cannot start ${id}: its template's start command (${start[0]}) ended with ${exit.signal ?? `code ${exit.code}`} before it was ready; mend the template`,
  )
}

const runOnce = async (
  guest: GuestConnection,
  process: string,
  argv: readonly string[],
  signal: AbortSignal,
): Promise<Process> => {
  await begin(guest, process, argv, 'kill', signal)
  const act = "cannot wait for the template's ready command"
  const waited = await guest.request({
    method: 'GET',
    path: `/v1/processes/${process}/wait`,
    headersTimeoutMs: machineLimits.bootMs,
    signal,
  })
  const ended = await readJson(waited, processSchema, act)
  // Looks at readiness are nobody's processes.
  const forgotten = await guest.request({ method: 'DELETE', path: `/v1/processes/${process}`, signal })
  await readJson(forgotten, processSchema, act)
  return ended
}

const begin = async (
  guest: GuestConnection,
  process: string,
  argv: readonly string[],
  survivors: 'keep' | 'kill',
  signal: AbortSignal,
): Promise<void> => {
  const response = await guest.request({
    method: 'PUT',
    path: `/v1/processes/${process}`,
    signal,
    ...jsonBody({ argv, survivors }),
  })
  await readJson(response, processSchema, `cannot run the template's command ${argv[0]}`)
}
