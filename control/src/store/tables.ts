/** The rows of control's database. Portable SQL only: text, bigint, integer. JSON is text. */
export interface ProjectRow {
  id: string
  name: string
  quota_sandboxes: number
  quota_cpu_millis: number
  quota_memory_mib: number
  version: number
  created_at_ms: number
}

export interface KeyRow {
  id: string
  project: string
  name: string
  /** SHA-256 of the whole key, hex. */
  hash: string
  scopes: string
  created_at_ms: number
  last_used_at_ms: number | null
  revoked_at_ms: number | null
}

export interface SandboxRow {
  id: string
  project: string
  name: string | null
  state: string
  version: number
  event_seq: number
  template: string
  image_digest: string
  isolation: string
  limits: string
  cpu_millis: number
  memory_mib: number
  labels: string
  user: string
  workdir: string
  created_at_ms: number
  created_by: string
  expires_at_ms: number
  on_timeout: string
  idle: string | null
  on_host_lost: string
  ended: string | null
  ended_at_ms: number | null
  timings: string
  timeout_ms: number
  /** 0 or 1. */
  auto_resume: number
  depth: string | null
  generation: number
  snapshot: string | null
  parent: string | null
}

export interface SnapshotRow {
  id: string
  project: string
  node: string
  /** `creating` and `deleting` until the node has done it; `lost` when the node has no files of it any more. */
  state: 'creating' | 'ready' | 'deleting' | 'lost'
  name: string | null
  kind: string
  digest: string
  sandbox: string
  parent: string | null
  template: string
  image_digest: string
  isolation: string
  limits: string
  user: string
  workdir: string
  size_bytes: number
  paused_ms: number
  created_at_ms: number
  created_by: string
}

export interface LabelRow {
  sandbox: string
  key: string
  value: string
}

export interface EventRow {
  sandbox: string
  seq: number
  at_ms: number
  type: string
  data: string
}

export interface CursorRow {
  node: string
  seq: number
}

/** The first answer of a call that carried an Idempotency-Key. `status` is null while it is under way. */
export interface AnswerRow {
  project: string
  key: string
  parameters: string
  subject: string | null
  status: number | null
  body: string | null
  created_at_ms: number
}

export interface TemplateRow {
  id: string
  /** Empty for a template that every project sees. */
  project: string
  name: string
  image_digest: string
  size_bytes: number
  config: string
  created_at_ms: number
}

export interface BuildRow {
  id: string
  project: string
  name: string
  state: string
  template: string | null
  error: string | null
  started_at_ms: number
  ended_at_ms: number | null
}

export interface BuildEventRow {
  build: string
  seq: number
  data: string
}

export interface PortRow {
  sandbox: string
  port: number
  access: string
  /** 0 or 1. */
  mask_host: number
}

export interface Tables {
  projects: ProjectRow
  keys: KeyRow
  sandboxes: SandboxRow
  snapshots: SnapshotRow
  labels: LabelRow
  events: EventRow
  cursors: CursorRow
  answers: AnswerRow
  templates: TemplateRow
  builds: BuildRow
  build_events: BuildEventRow
  ports: PortRow
}
