import { AtollError } from '@atoll/protocol'
import type { Machine } from '../driver.ts'

/** Not offered yet, and said so in the capabilities. */
export const restore = async (): Promise<Machine> => {
  throw new AtollError('unsupported', 'cannot restore on container: memory snapshots are not offered yet')
}
