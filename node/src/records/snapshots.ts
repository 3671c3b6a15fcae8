import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import type { Isolation, SandboxLimits, SnapshotKind } from '@atoll/protocol'

/** Whose a snapshot is: a user's, of the sandbox that it is the only copy of, or of a template that creates restore. */
export type SnapshotOwner = 'user' | 'sandbox' | 'template'

/** A row that stands for one saved state. Several rows may share the files of one digest. */
export interface SnapshotRecord {
  readonly id: string
  readonly owner: SnapshotOwner
  /** Names its folder below `snapshots/`. */
  readonly digest: string
  readonly kind: SnapshotKind
  /** The sandbox that it was taken of; null of a template's. */
  readonly sandbox: string | null
  readonly imageDigest: string
  readonly sizeBytes: number
  readonly detail: {
    readonly isolation: Isolation
    readonly limits: SandboxLimits
    /** How long user code stood still for it. */
    readonly pausedMs: number
    /** Of the identity that its guest had: what is restored from it gets a higher one. */
    readonly generation: number
  }
  readonly createdAtMs: number
}

/** Rows of `snapshots`. */
export const snapshotRecords = (database: DatabaseSync) => {
  const insert = database.prepare(
    `INSERT INTO snapshots (id, owner, digest, kind, sandbox, image_digest, size_bytes, detail, created_at_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const one = database.prepare('SELECT * FROM snapshots WHERE id = ?')
  const ofOwner = database.prepare('SELECT * FROM snapshots WHERE owner = ? ORDER BY created_at_ms, id')
  const remove = database.prepare('DELETE FROM snapshots WHERE id = ?')
  const references = database.prepare('SELECT count(*) AS count FROM snapshots WHERE digest = ?')
  const digests = database.prepare('SELECT DISTINCT digest FROM snapshots')
  const images = database.prepare(
    "SELECT DISTINCT image_digest AS digest FROM snapshots WHERE owner <> 'template'",
  )
  const used = database.prepare(
    'SELECT coalesce(sum(bytes), 0) AS bytes FROM (SELECT max(size_bytes) AS bytes FROM snapshots GROUP BY digest)',
  )
  return {
    insert: (record: SnapshotRecord): void =>
      void insert.run(
        record.id,
        record.owner,
        record.digest,
        record.kind,
        record.sandbox,
        record.imageDigest,
        record.sizeBytes,
        JSON.stringify(record.detail),
        record.createdAtMs,
      ),
    get: (id: string): SnapshotRecord | undefined => {
      const row = one.get(id)
      return row === undefined ? undefined : fromRow(row)
    },
    ofOwner: (owner: SnapshotOwner): SnapshotRecord[] => ofOwner.all(owner).map(fromRow),
    /** True when it was there. */
    remove: (id: string): boolean => remove.run(id).changes === 1,
    references: (digest: string): number => Number(references.get(digest)?.['count']),
    digests: (): Set<string> => new Set(digests.all().map((row) => String(row['digest']))),
    /** Digests of the images that what users and sandboxes saved stands on; a template's goes with its image. */
    images: (): Set<string> => new Set(images.all().map((row) => String(row['digest']))),
    /** Bytes of all files, those that rows share counted once. */
    usedBytes: (): number => Number(used.get()?.['bytes']),
  }
}

// What is read here was written by insert from typed values: node.db is 0600 and ours alone.
const fromRow = (row: Record<string, SQLOutputValue>): SnapshotRecord => ({
  id: String(row['id']),
  owner: String(row['owner']) as SnapshotOwner,
  digest: String(row['digest']),
  kind: String(row['kind']) as SnapshotKind,
  sandbox: typeof row['sandbox'] === 'string' ? row['sandbox'] : null,
  imageDigest: String(row['image_digest']),
  sizeBytes: Number(row['size_bytes']),
  detail: JSON.parse(String(row['detail'])),
  createdAtMs: Number(row['created_at_ms']),
})
