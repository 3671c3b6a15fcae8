import { AtollError } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import type { Context } from './context.ts'
import { endedError } from './end.ts'
import { machineLimits } from './limits.ts'
import { recordOf } from './present.ts'

/** An operation on a whole sandbox. */
export interface Operation {
  /** Asked again while it is the last in line, it is the same operation. */
  readonly name: string
  /** Begins its errors: `cannot pause`. */
  readonly act: string
  /** Longest that it may take once it is its turn, ms. */
  readonly ms: number
}

type Act<Result> = (record: SandboxRecord, signal: AbortSignal) => Promise<Result>

/**
 * Runs an operation when those before it on the same sandbox are over. It belongs to nobody: a caller that goes
 * away leaves it running, the deletion of the sandbox aborts it. `act` gets the record as it is by then.
 */
export const inLine = <Result>(
  context: Context,
  id: string,
  operation: Operation,
  act: Act<Result>,
): Promise<Result> => {
  const last = context.lines.get(id)
  // The name tells the operation, and with it what it resolves to.
  if (last?.name === operation.name) return last.result as Promise<Result>
  const waiting = last === undefined ? 0 : last.waiting + 1
  if (waiting > machineLimits.operationsPerSandbox)
    return Promise.reject(
      new AtollError(
        'overloaded',
        `${operation.act} ${id}: ${machineLimits.operationsPerSandbox} operations on it are waiting; try again`,
      ),
    )
  const result = settled(last?.result).then(() => turn(context, id, operation, act))
  context.lines.set(id, { name: operation.name, result, waiting })
  // Whoever is last counts the operations before it that are not over, not those that there ever were.
  const leave = (): void => {
    const now = context.lines.get(id)
    if (now === undefined || now.waiting === 0) context.lines.delete(id)
    else context.lines.set(id, { ...now, waiting: now.waiting - 1 })
  }
  result.then(leave, leave)
  return result
}

const settled = (work: Promise<unknown> | undefined): Promise<void> =>
  Promise.resolve(work).then(
    () => undefined,
    () => undefined,
  )

const turn = async <Result>(
  context: Context,
  id: string,
  { act: named, ms }: Operation,
  act: Act<Result>,
): Promise<Result> => {
  // Its creation is no operation in line.
  await context.work.get(id)?.unwound
  context.closing.throwIfAborted()
  const record = recordOf(context, id)
  if (record.ended !== null || record.state === 'deleting') throw endedError(record, named)
  const controller = new AbortController()
  const signal = AbortSignal.any([controller.signal, context.closing, AbortSignal.timeout(ms)])
  const work = act(record, signal)
  const unwound = settled(work)
  // Whoever creates it again waits for the operation and not for its outcome.
  context.work.set(id, {
    hash: record.specHash,
    abort: (reason) => controller.abort(reason),
    unwound,
    done: unwound,
  })
  try {
    return await work
  } catch (error) {
    throw asOperationError(error, signal, `${named} ${id}`, ms)
  } finally {
    context.work.delete(id)
  }
}

const asOperationError = (error: unknown, signal: AbortSignal, act: string, ms: number): AtollError => {
  if (signal.aborted && signal.reason instanceof AtollError) return signal.reason
  if (signal.aborted)
    return new AtollError('deadline_node', `${act}: not done within ${ms} ms; it is as it was before`, {
      cause: error,
    })
  if (error instanceof AtollError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new AtollError('internal', `${act}: ${message}`, { cause: error })
}
