import { AtollError } from '@atoll/protocol'
import type { Machine } from '../driver.ts'

/** Memory is not saved here: an honest refusal instead of a half restore. */
export const restore = async (): Promise<Machine> => {
  throw new AtollError('unsupported', 'the simulated runtime has no snapshots; use a real runtime')
}
