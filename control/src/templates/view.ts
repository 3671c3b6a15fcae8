import { buildSchema, templateSchema, type Build, type Template } from '@atoll/protocol'
import type { BuildRow, TemplateRow } from '../store/tables.ts'

/** A template's row as the API shows it. */
export const viewTemplate = (row: TemplateRow): Template =>
  templateSchema.parse({
    id: row.id,
    project: row.project === '' ? null : row.project,
    name: row.name,
    imageDigest: row.image_digest,
    sizeBytes: row.size_bytes,
    config: JSON.parse(row.config),
    createdAtMs: row.created_at_ms,
  })

/** A build's row as the API shows it. */
export const viewBuild = (row: BuildRow): Build =>
  buildSchema.parse({
    id: row.id,
    name: row.name,
    state: row.state,
    template: row.template,
    error: row.error === null ? null : JSON.parse(row.error),
    startedAtMs: row.started_at_ms,
    endedAtMs: row.ended_at_ms,
  })
