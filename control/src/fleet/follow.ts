import type { NodeEvent } from '@atoll/protocol'
import { appendEvent } from '../events/append.ts'
import type { Context } from '../context.ts'
import { readSandbox } from '../sandboxes/find.ts'
import { untilReboot } from '../store/until-reboot.ts'
import { nodeName, probe } from './apply.ts'

/** Events that are taken from the node in one go. */
const pageCount = 500
/** Ms for which events are gathered: whoever caused one is answered before all others are told. */
const gatherMs = 10
/** Ms after which a failed reading is tried again. */
const retryMs = 1_000

/**
 * Follows the node's events: each becomes an entry of its sandbox's log, and each sandbox that is named
 * is probed. A call back of the node is only a wake-up: what is read begins at the stored cursor, so that
 * nothing is lost while control is down, and nothing is entered twice.
 */
export const followNode = async (context: Context): Promise<AsyncDisposable> => {
  let wanted = true
  let running: Promise<void> | undefined
  let retry: NodeJS.Timeout | undefined
  const pump = async (): Promise<void> => {
    while (wanted && !context.closed.aborted) {
      wanted = false
      try {
        while ((await readPage(context)) && !context.closed.aborted);
      } catch (error) {
        context.logger.error({ error: String(error) }, 'cannot read the events of the node; trying again')
        retry = setTimeout(wake, retryMs)
        retry.unref()
      }
    }
  }
  const wake = (): void => {
    wanted = true
    if (context.closed.aborted) return
    running ??= pump().finally(() => {
      running = undefined
      if (wanted) wake()
    })
  }
  let gathering: NodeJS.Timeout | undefined
  const gather = (): void => {
    gathering ??= setTimeout(() => {
      gathering = undefined
      wake()
    }, gatherMs)
  }
  const listening = context.node.onEvent(gather)
  wake()
  await running
  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]()
      clearTimeout(retry)
      clearTimeout(gathering)
      await running
    },
  }
}

const readPage = async (context: Context): Promise<boolean> => {
  const cursor = await context.db
    .selectFrom('cursors')
    .select('seq')
    .where('node', '=', nodeName)
    .executeTakeFirst()
  const events = await context.node.events(cursor?.seq ?? 0, pageCount)
  if (events.length === 0) return false
  // The node keeps them until the cursor that is written with them has passed.
  await untilReboot(() => enter(context, events))
  for (const id of new Set(events.map((event) => event.sandbox))) {
    context.hub.notify(id)
    const row = await readSandbox(context, id)
    if (row !== undefined) await probe(context, row)
  }
  return events.length === pageCount
}

const enter = (context: Context, events: readonly NodeEvent[]): Promise<void> =>
  context.db.transaction().execute(async (trx) => {
    for (const event of events)
      await appendEvent(
        trx,
        event.sandbox,
        { type: `node.${event.type}`, atMs: event.atMs, data: event.data },
        context.limits,
      )
    const seq = Math.max(...events.map((event) => event.seq))
    await trx
      .insertInto('cursors')
      .values({ node: nodeName, seq })
      .onConflict((conflict) => conflict.column('node').doUpdateSet({ seq }))
      .execute()
  })
