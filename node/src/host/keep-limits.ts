import { join } from 'node:path'
import { z } from 'zod'
import type { MachineLimits } from '../runtimes/driver.ts'
import { readJson, writeJson } from './files.ts'

const keptSchema = z.object({ diskBytes: z.int(), openFiles: z.int() })
const fileOf = (directory: string): string => join(directory, 'limits.json')

/** Keeps what the host cannot be asked later. */
export const keepLimits = (directory: string, { diskBytes, openFiles }: MachineLimits): Promise<void> =>
  writeJson(fileOf(directory), { diskBytes, openFiles })

/** What was kept. */
export const keptLimits = async (directory: string): Promise<z.infer<typeof keptSchema>> =>
  keptSchema.parse(await readJson(fileOf(directory)))
