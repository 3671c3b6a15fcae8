import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readJson } from './files.ts'

const identitySchema = z.object({ pid: z.int(), startTime: z.int() }).nullish()
const recordSchema = z.object({ shim: identitySchema, spare: identitySchema })
type Identity = z.infer<typeof identitySchema>

/** True while the shim or its spare runs, by pid and start time: then the sandbox may be unreachable, not gone. */
export const shimLives = async (directory: string): Promise<boolean> => {
  const record = recordSchema.safeParse(await readJson(join(directory, 'shim.json')))
  if (!record.success) return false
  return (await isAlive(record.data.shim)) || (await isAlive(record.data.spare))
}

const isAlive = async (identity: Identity): Promise<boolean> => {
  if (identity === null || identity === undefined) return false
  const stat = await readFile(`/proc/${identity.pid}/stat`, 'latin1').catch(() => '')
  // The name in brackets may hold anything; what follows the last bracket does not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] !== 'Z' && Number(fields[19]) === identity.startTime
}
