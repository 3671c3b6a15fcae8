import { scopeSchema, type Scope } from '@atoll/protocol'
import type { Database } from '../store/open.ts'
import { boundedMap } from './bounded-map.ts'

/** A key as the hot path needs it. */
export interface KnownKey {
  readonly id: string
  readonly project: string
  readonly hash: Buffer
  readonly scopes: ReadonlySet<Scope>
  readonly revoked: boolean
  /** What is to be cut when the key is revoked: streams that it opened. */
  readonly cuts: Set<() => void>
}

/** Keys in memory: the exec path reads no database. A revocation forgets its key at once. */
export const keyCache = (db: Database, maxEntries: number) => {
  const cached = boundedMap<KnownKey>(maxEntries)
  const used = new Map<string, number>()
  // A load that began before a revocation must not put the old key back after it.
  let generation = 0
  return {
    cached: (id: string): KnownKey | undefined => cached.get(id),
    async load(id: string): Promise<KnownKey | undefined> {
      const found = cached.get(id)
      if (found !== undefined) return found
      const before = generation
      const row = await db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined) return undefined
      const key: KnownKey = {
        id,
        project: row.project,
        hash: Buffer.from(row.hash, 'hex'),
        scopes: new Set(scopeSchema.array().parse(JSON.parse(row.scopes))),
        revoked: row.revoked_at_ms !== null,
        cuts: new Set(),
      }
      if (before === generation) cached.set(id, key)
      return key
    },
    forget(id: string): void {
      generation += 1
      const cuts = [...(cached.get(id)?.cuts ?? [])]
      cached.delete(id)
      for (const cut of cuts) cut()
    },
    markUsed: (id: string, atMs: number): void => void used.set(id, atMs),
    /** Writes when keys were last used; the marks are bounded by the number of keys. */
    async flushUsed(): Promise<void> {
      const marks = [...used]
      used.clear()
      for (const [id, atMs] of marks)
        await db.updateTable('keys').set({ last_used_at_ms: atMs }).where('id', '=', id).execute()
    },
  }
}

export type KeyCache = ReturnType<typeof keyCache>
