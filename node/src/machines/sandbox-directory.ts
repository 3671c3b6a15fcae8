import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AtollError, type RuntimeName, runtimeNameSchema, sandboxIdSchema } from '@atoll/protocol'
import { z } from 'zod'
import type { Context } from './context.ts'

/** Marks a folder as ours, for a node.db that was lost. */
const markerName = 'sandbox.json'
const markerBytes = 4_096
const markerSchema = z.object({ id: sandboxIdSchema, runtime: runtimeNameSchema, bootId: z.string() })
export type Marker = z.output<typeof markerSchema>

/** The folder of a machine. */
export const directoryOf = (context: Context, machineId: string): string =>
  join(context.dataFolder, 'sandboxes', machineId)

/** Makes the folder of a new machine, which must not be there, and marks it. */
export const claimDirectory = async (
  context: Context,
  machine: { readonly id: string; readonly runtime: RuntimeName },
): Promise<void> => {
  const directory = directoryOf(context, machine.id)
  try {
    await mkdir(directory, { mode: 0o700 })
  } catch (error) {
    throw new AtollError(
      'internal',
      `cannot make machine ${machine.id}: its folder cannot be made: ${String(error)}`,
      {
        cause: error,
      },
    )
  }
  const marker: Marker = { id: machine.id as Marker['id'], runtime: machine.runtime, bootId: context.bootId }
  await writeFile(join(directory, markerName), JSON.stringify(marker), { mode: 0o600, flag: 'wx' })
}

/** Reads the marker of a folder; undefined when the folder is not positively ours. */
export const readMarker = async (directory: string, id: string): Promise<Marker | undefined> => {
  try {
    const folder = await lstat(directory)
    const file = await lstat(join(directory, markerName))
    if (!folder.isDirectory() || folder.uid !== process.getuid?.()) return undefined
    if (!file.isFile() || file.uid !== process.getuid() || file.size > markerBytes) return undefined
    const marker = markerSchema.safeParse(JSON.parse(await readFile(join(directory, markerName), 'utf8')))
    return marker.success && marker.data.id === id ? marker.data : undefined
  } catch {
    return undefined
  }
}
