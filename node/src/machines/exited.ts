import type { EndCause } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { MachineExit } from '../runtimes/driver.ts'
import type { Context, Live } from './context.ts'
import { endSandbox } from './end.ts'

const causes: Readonly<Record<MachineExit['cause'], EndCause>> = {
  killed: 'fault',
  exited: 'fault',
  fault: 'fault',
  oom: 'out_of_memory',
  deadline: 'deadline',
  hostLost: 'host_lost',
}

/** Ends the record of a machine that ended by itself; one that a verb is ending is that verb's. */
export const watchExit = (context: Context, live: Live): void => {
  void live.machine.exited.then(async (exit) => {
    if (context.closing.aborted || context.live.get(live.id) !== live) return
    try {
      await recordExit(context, live.id, exit)
    } catch (error) {
      context.logger.error({ sandbox: live.id, err: error }, 'the end of a machine could not be recorded')
    }
  })
}

/** In between its machine is that of a verb, which sees its end itself. */
const hasMachine = ({ state, depth }: SandboxRecord): boolean =>
  state === 'running' || (state === 'paused' && depth === 'frozen')

/** The tombstone of a machine's own end. */
export const recordExit = async (context: Context, id: string, exit: MachineExit): Promise<void> => {
  const record = context.records.sandboxes.get(id)
  if (record === undefined || !hasMachine(record)) return
  await endSandbox(context, record, {
    cause: causes[exit.cause],
    by: 'node',
    message: `${exit.message} (as the host saw it: ${exit.cause}, code ${exit.code ?? 'none'}, signal ${exit.signal ?? 'none'})`,
  })
}
