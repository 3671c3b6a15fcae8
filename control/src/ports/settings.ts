import { AtollError, type Port, portSchema, type setPortSchema } from '@atoll/protocol'
import type { z } from 'zod'
import type { Caller, Context } from '../context.ts'
import { recordAct } from '../events/record-act.ts'
import { findSandbox, refuseEnded } from '../sandboxes/find.ts'
import type { PortRow } from '../store/tables.ts'
import { portLimits } from './limits.ts'

/** How one port can be reached; one that nobody set is private. */
export const getPort = async (
  context: Context,
  caller: Caller,
  sandbox: string,
  port: number,
): Promise<Port> => {
  const { id } = await findSandbox(context, caller, sandbox)
  return viewPort(context, id, port, await readRow(context, id, port))
}

/** The ports that somebody set. */
export const listPorts = async (context: Context, caller: Caller, sandbox: string): Promise<Port[]> => {
  const { id } = await findSandbox(context, caller, sandbox)
  const rows = await context.db
    .selectFrom('ports')
    .selectAll()
    .where('sandbox', '=', id)
    .orderBy('port')
    .limit(portLimits.portsPerSandbox)
    .execute()
  return rows.map((row) => viewPort(context, id, row.port, row))
}

/** Changes who may reach a port, at once: what nobody had to show a token for is cut. */
export const setPort = async (
  context: Context,
  caller: Caller,
  sandbox: string,
  port: number,
  settings: z.infer<typeof setPortSchema>,
): Promise<Port> => {
  const found = await findSandbox(context, caller, sandbox)
  refuseEnded(found, 'set a port of')
  const row: PortRow = {
    sandbox: found.id,
    port,
    access: settings.access,
    mask_host: settings.maskHost ? 1 : 0,
  }
  await context.db.transaction().execute(async (trx) => {
    await trx
      .insertInto('ports')
      .values(row)
      .onConflict((conflict) => conflict.columns(['sandbox', 'port']).doUpdateSet(row))
      .execute()
    const { count } = await trx
      .selectFrom('ports')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('sandbox', '=', found.id)
      .executeTakeFirstOrThrow()
    if (Number(count) > portLimits.portsPerSandbox)
      throw new AtollError(
        'overloaded',
        `cannot set port ${port} of ${found.id}: ${portLimits.portsPerSandbox} ports are set, and no more can be`,
        { retryable: false },
      )
  })
  context.ports.forget(found.id, port)
  await recordAct(context, caller, found.id, 'port.set', { port, ...settings })
  return viewPort(context, found.id, port, row)
}

const readRow = (context: Context, sandbox: string, port: number): Promise<PortRow | undefined> =>
  context.db
    .selectFrom('ports')
    .selectAll()
    .where('sandbox', '=', sandbox)
    .where('port', '=', port)
    .executeTakeFirst()

const viewPort = (context: Context, sandbox: string, port: number, row: PortRow | undefined): Port =>
  portSchema.parse({
    sandbox,
    port,
    access: row?.access ?? 'private',
    maskHost: row === undefined || row.mask_host === 1,
    url: context.portUrl(sandbox, port),
  })
