import { availableParallelism } from 'node:os'
import { semaphore } from '@atoll/kit'
import { AtollError, type NodeFork, type NodeForkChild, sandboxIdSchema } from '@atoll/protocol'
import type { SandboxRecord } from '../records/sandboxes.ts'
import { admit, readHostRoom } from './admit.ts'
import type { Context } from './context.ts'
import { hashOf } from './create.ts'
import { endedError } from './end.ts'
import { beginChild, type Source } from './fork-child.ts'
import { openForkSource } from './fork-source.ts'
import { inLine } from './line.ts'
import { machineLimits } from './limits.ts'
import { present, recordOf } from './present.ts'
import { report } from './transition.ts'

/** A child on its way, or one that could not begin. */
type Begun = { readonly id: string; readonly made: Promise<void> }

/**
 * Copies a sandbox with its memory into children of their own identity. The parent stands still once, for all of
 * them. A child's id stands for one child: asked again, those that are there are answered as they are.
 */
export const forkSandbox = async (
  context: Context,
  id: string,
  children: readonly NodeForkChild[],
  by: string,
): Promise<NodeFork> => {
  refuse(context, recordOf(context, id), children)
  const fresh = children.filter((child) => context.records.sandboxes.get(child.id) === undefined)
  const begun = fresh.length === 0 ? undefined : await takeTurn(context, id, fresh, by)
  try {
    const made = children.map(
      (child) => begun?.children.find((one) => one.id === child.id) ?? underWay(context, child.id),
    )
    return {
      pausedMs: begun?.source?.pausedMs ?? 0,
      children: await Promise.all(made.map((one) => outcome(context, one))),
    }
  } finally {
    // Shared with whoever asked for the same children meanwhile, and waits for the same.
    await begun?.source?.[Symbol.asyncDispose]()
  }
}

/** In line with whatever else is done to the whole sandbox: its children are admitted, then it is captured. */
const takeTurn = (
  context: Context,
  id: string,
  children: readonly NodeForkChild[],
  by: string,
): Promise<{ children: Begun[]; source: Source | undefined }> => {
  const ids = children.map((child) => child.id)
  return inLine(
    context,
    id,
    { name: `fork ${ids.join(' ')}`, act: 'cannot fork', ms: machineLimits.captureMs },
    async (record, signal) => {
      const promised = Promise.withResolvers<Source>()
      const begun = await beginAll(context, record, children, promised.promise)
      const admitted = ids.filter((child) => context.work.has(child))
      if (admitted.length === 0) return { children: begun, source: undefined }
      try {
        const source = await openForkSource(context, record, signal)
        promised.resolve(source)
        const { pausedMs } = source
        report(context, id, { type: 'forked', data: { children: admitted, pausedMs, by } })
        return { children: begun, source }
      } catch (error) {
        promised.reject(error)
        // Each of them is ended before the caller learns why.
        await Promise.allSettled(begun.map(({ made }) => made))
        throw error
      }
    },
  )
}

const refuse = (context: Context, parent: SandboxRecord, children: readonly NodeForkChild[]): void => {
  const act = `cannot fork ${parent.id}`
  if (parent.ended !== null || parent.state === 'deleting') throw endedError(parent, 'cannot fork')
  const ids = new Set(children.map(({ id }) => id))
  if (ids.size !== children.length || ids.has(parent.id) || ids.size === 0)
    throw new AtollError('invalid_request', `${act}: each child needs an id of its own`)
  for (const id of ids) {
    if (!sandboxIdSchema.safeParse(id).success)
      throw new AtollError('invalid_request', `${act}: ${id} is no sandbox id`)
    const known = context.records.sandboxes.get(id)
    if (known !== undefined && known.parent !== parent.id)
      throw new AtollError('conflict', `${act}: ${id} stands for another sandbox`)
  }
}

/** Admits and records each child in one turn, so that none of them counts on room that another one has. */
const beginAll = async (
  context: Context,
  parent: SandboxRecord,
  children: readonly NodeForkChild[],
  source: Promise<Source>,
): Promise<Begun[]> => {
  const { capabilities, driver } = await context.runtimes.choose(parent.runtime)
  if (!capabilities.memorySnapshot)
    throw new AtollError(
      'unsupported',
      `cannot fork ${parent.id}: runtime ${driver.name} cannot copy memory`,
      {
        remedy: 'take a snapshot of kind disk and create sandboxes from it',
      },
    )
  const room = await readHostRoom(context.dataFolder)
  const places = semaphore(availableParallelism() * machineLimits.forksPerCpu, children.length)
  return children
    .filter((child) => context.records.sandboxes.get(child.id) === undefined)
    .map((child) => {
      const { id, hostname, lease } = child
      const spec = { ...parent.spec, id, hostname, lease }
      try {
        admit(context, spec, room)
        const made = beginChild(context, parent, { spec, hash: hashOf(spec) }, source, places)
        return { id, made }
      } catch (error) {
        return { id, made: Promise.reject(error as Error) }
      }
    })
    .map((one) => {
      // Whoever asked hears of it by its outcome.
      one.made.catch(() => undefined)
      return one
    })
}

/** Begun by an earlier call: its outcome is that one's. */
const underWay = (context: Context, id: string): Begun => ({
  id,
  made: Promise.resolve(context.work.get(id)?.unwound).then(() => undefined),
})

const outcome = async (context: Context, { id, made }: Begun): Promise<NodeFork['children'][number]> => {
  try {
    await made
    const record = recordOf(context, id)
    if (record.ended !== null) return { id, error: endedError(record, 'cannot fork into') }
    return { id, sandbox: await present(context, record) }
  } catch (error) {
    if (error instanceof AtollError) return { id, error }
    const message = error instanceof Error ? error.message : String(error)
    return { id, error: new AtollError('internal', `cannot fork into ${id}: ${message}`, { cause: error }) }
  }
}
