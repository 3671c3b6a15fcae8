import { snapshotSchema, type Snapshot } from '@atoll/protocol'
import type { SnapshotRow } from '../store/tables.ts'

/** A snapshot's row as the API shows it. */
export const viewSnapshot = (row: SnapshotRow): Snapshot =>
  snapshotSchema.parse({
    id: row.id,
    project: row.project,
    name: row.name,
    kind: row.kind,
    digest: row.digest,
    sandbox: row.sandbox,
    parent: row.parent,
    template: row.template,
    imageDigest: row.image_digest,
    isolation: JSON.parse(row.isolation),
    limits: JSON.parse(row.limits),
    sizeBytes: row.size_bytes,
    pausedMs: row.paused_ms,
    createdAtMs: row.created_at_ms,
  })
