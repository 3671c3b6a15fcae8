import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { askProcesses, jsonBody } from '../guest/calls.ts'
import { readJson } from '../guest/read-json.ts'
import type { Context, Live } from './context.ts'
import { machineLimits } from './limits.ts'

/** Between two looks whether they have ended, ms. */
const lookEveryMs = 50

/**
 * Asks every process of a machine that is to end to come to its end, and waits a moment. What then still runs,
 * its machine takes with it.
 */
export const endProcesses = async (context: Context, live: Live, signal: AbortSignal): Promise<void> => {
  const until = context.clock.monotonic() + machineLimits.stopGraceMs
  const running = async (): Promise<string[]> =>
    (await askProcesses(live.guest, machineLimits.probeMs))
      .filter((process) => process.exit === null)
      .map(({ id }) => id)
  let left = await running()
  await Promise.all(
    left.map((id) =>
      // One that ended in between needs none.
      terminate(live, id).catch(() => undefined),
    ),
  )
  while (left.length > 0 && context.clock.monotonic() < until) {
    await sleep(lookEveryMs, undefined, { signal })
    left = await running()
  }
}

const terminate = async (live: Live, id: string): Promise<void> => {
  const response = await live.guest.request({
    method: 'POST',
    path: `/v1/processes/${encodeURIComponent(id)}/signal`,
    ...jsonBody({ signal: 'SIGTERM', tree: true }),
    headersTimeoutMs: machineLimits.probeMs,
  })
  await readJson(response, z.object({ delivered: z.int() }), `cannot end process ${id}`)
}
