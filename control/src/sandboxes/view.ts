import { sandboxSchema, type Sandbox } from '@atoll/protocol'
import type { SandboxRow } from '../store/tables.ts'

/** A sandbox's row as the API shows it. */
export const viewSandbox = (row: SandboxRow): Sandbox =>
  sandboxSchema.parse({
    id: row.id,
    project: row.project,
    name: row.name,
    state: row.state,
    version: row.version,
    template: row.template,
    imageDigest: row.image_digest,
    isolation: JSON.parse(row.isolation),
    limits: JSON.parse(row.limits),
    labels: JSON.parse(row.labels),
    user: row.user,
    workdir: row.workdir,
    createdAtMs: row.created_at_ms,
    expiresAtMs: row.expires_at_ms,
    onTimeout: row.on_timeout,
    idle: row.idle === null ? null : JSON.parse(row.idle),
    autoResume: row.auto_resume === 1,
    onHostLost: row.on_host_lost,
    depth: row.state === 'paused' ? row.depth : null,
    generation: row.generation,
    snapshot: row.snapshot,
    parent: row.parent,
    network: 'none',
    ended: row.ended === null ? null : JSON.parse(row.ended),
    timings: JSON.parse(row.timings),
  })
