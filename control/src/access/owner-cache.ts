import { endedSchema, type Ended } from '@atoll/protocol'
import type { Database } from '../store/open.ts'
import { boundedMap } from './bounded-map.ts'

/** Whose a sandbox is and whether it ended: what a guest call must know before it passes. */
export interface Owner {
  readonly project: string
  readonly state: string
  readonly ended: Ended | null
}

/** Owners in memory; every transition forgets its sandbox (see sandboxes/transition.ts). */
export const ownerCache = (db: Database, maxEntries: number) => {
  const cached = boundedMap<Owner>(maxEntries)
  // A load that began before a transition must not put the old state back after it.
  let generation = 0
  return {
    async load(id: string): Promise<Owner | undefined> {
      const found = cached.get(id)
      if (found !== undefined) return found
      const before = generation
      const row = await db
        .selectFrom('sandboxes')
        .select(['project', 'state', 'ended'])
        .where('id', '=', id)
        .executeTakeFirst()
      if (row === undefined) return undefined
      const ended = row.ended === null ? null : endedSchema.parse(JSON.parse(row.ended))
      const owner: Owner = { project: row.project, state: row.state, ended }
      if (before === generation) cached.set(id, owner)
      return owner
    },
    forget(id: string): void {
      generation += 1
      cached.delete(id)
    },
  }
}

export type OwnerCache = ReturnType<typeof ownerCache>
