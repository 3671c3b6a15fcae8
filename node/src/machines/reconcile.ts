import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { sandboxIdSchema } from '@atoll/protocol'
import type { Context } from './context.ts'
import { unfinishedMachine } from './find-machine.ts'
import { machineLimits } from './limits.ts'
import { removeDirectory } from './remove-directory.ts'
import { directoryOf, readMarker } from './sandbox-directory.ts'

/** What was found in the data folder without a living record, and what is done about it. */
export interface Leftover {
  readonly directory: string
  readonly action: 'remove' | 'leave'
  readonly because: string
}

/**
 * Folders without a living record: removed only when they are positively ours and nothing of them lives.
 * With `dryRun` it only tells.
 */
export const reconcile = async (
  context: Context,
  options: { readonly dryRun: boolean },
): Promise<Leftover[]> => {
  const leftovers: Leftover[] = []
  const names = await readdir(join(context.dataFolder, 'sandboxes'))
  for (const name of names) {
    const leftover = await judge(context, name)
    if (leftover === undefined) continue
    leftovers.push(leftover)
    if (leftover.action === 'leave')
      context.logger.warn({ directory: leftover.directory }, `left alone: ${leftover.because}`)
    else if (!options.dryRun) await remove(context, name)
  }
  return leftovers
}

const judge = async (context: Context, name: string): Promise<Leftover | undefined> => {
  const directory = directoryOf(context, name)
  if (!sandboxIdSchema.safeParse(name).success)
    return { directory, action: 'leave', because: 'its name is no sandbox id' }
  if (context.records.pool.namesMachine(name)) return undefined
  const marker = await readMarker(directory, name)
  if (marker === undefined)
    return {
      directory,
      action: 'leave',
      because: 'it has no marker of this node, so it may be of someone else',
    }
  if (context.runtimes.driver(marker.runtime) === undefined)
    return { directory, action: 'leave', because: `this node has no driver for ${marker.runtime}` }
  return {
    directory,
    action: 'remove',
    because: 'neither the pool nor a sandbox that lives has a machine of that id',
  }
}

/** The driver ends what the folder positively identifies, then the folder goes. */
const remove = async (context: Context, id: string): Promise<void> => {
  const directory = directoryOf(context, id)
  const marker = await readMarker(directory, id)
  if (marker === undefined) return
  try {
    await context.runtimes
      .driver(marker.runtime)
      ?.recover(unfinishedMachine(marker, directory), AbortSignal.timeout(machineLimits.teardownMs))
    const files = await removeDirectory(directory)
    context.logger.info({ directory, files }, 'removed what a former sandbox left')
  } catch (error) {
    context.logger.error({ directory, err: error }, 'what a former sandbox left could not be removed')
  }
}
