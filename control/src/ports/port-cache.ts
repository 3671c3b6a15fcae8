import { type PortAccess, portAccessSchema } from '@atoll/protocol'
import { boundedMap } from '../access/bounded-map.ts'
import type { Database } from '../store/open.ts'
import { portLimits } from './limits.ts'

/** What a request to a port must know before it passes. */
export interface KnownPort {
  readonly access: PortAccess
  readonly maskHost: boolean
  /** What is to be cut when the settings change: connections that nobody had to show a token for. */
  readonly cuts: Set<() => void>
}

/** Settings in memory: a page with a hundred parts reads the database once. A change forgets its port at once. */
export const portCache = (db: Database) => {
  const cached = boundedMap<KnownPort>(portLimits.portsCached)
  // A load that began before a change must not put the old settings back after it.
  let generation = 0
  const load = async (sandbox: string, port: number): Promise<KnownPort> => {
    const name = `${sandbox} ${port}`
    const found = cached.get(name)
    if (found !== undefined) return found
    const before = generation
    const row = await db
      .selectFrom('ports')
      .selectAll()
      .where('sandbox', '=', sandbox)
      .where('port', '=', port)
      .executeTakeFirst()
    // Two loads at once must end with one entry, or the cuts of the other would be lost.
    const other = cached.get(name)
    if (other !== undefined) return other
    const known: KnownPort = {
      access: portAccessSchema.parse(row?.access ?? 'private'),
      maskHost: row === undefined || row.mask_host === 1,
      cuts: new Set(),
    }
    // Settings of before a change are nobody's: who was let in by them could not be cut.
    if (before !== generation) return await load(sandbox, port)
    cached.set(name, known)
    return known
  }
  return {
    load,
    forget(sandbox: string, port: number): void {
      generation += 1
      const name = `${sandbox} ${port}`
      const cuts = [...(cached.get(name)?.cuts ?? [])]
      cached.delete(name)
      for (const cut of cuts) cut()
    },
  }
}

export type PortCache = ReturnType<typeof portCache>
